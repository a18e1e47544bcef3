"""Finished shards: found again, never damaged ones, whole whoever wrote them and when he died."""

import errno
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks import work_store
from tasks.in_use import read_in_use
from tasks.params import InputError
from tasks.work_store import Shard, WorkStore

ROOT = Path(__file__).parents[2]
SHARD = Shard(b"shard" * 100, [{"sample_id": "a", "share": 0.1}, {"sample_id": "b", "share": 1e-9}])


@dataclass(frozen=True)
class Toy:
    fingerprint: str
    name: str = "car-0000.tar"


@pytest.fixture
def store(tmp_path: Path) -> WorkStore:
    return WorkStore("stage", tmp_path)


def test_what_was_put_is_found(store: WorkStore) -> None:
    assert store.find("f") is None and not store.verify("f")
    put = store.put("f", SHARD)
    found = store.find("f")
    assert found == put and found.entries == SHARD.entries
    assert found.path.read_bytes() == SHARD.data
    assert store.verify("f")
    assert store.find("g") is None


def flip(path: Path, at: int) -> None:
    """Flip a bit in place, as a bad disk would."""
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("at", [0, 250, 499])
def test_a_flipped_byte_is_found_told_and_mended(
    store: WorkStore, caplog: pytest.LogCaptureFixture, at: int
) -> None:
    path = store.put("f", SHARD).path
    before = path.stat()
    flip(path, at)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not store.verify("f")
    assert f"{path} is damaged" in caplog.text and "computed again" in caplog.text
    assert store.use(["f"]) == {"f"}
    store.put("f", SHARD)
    assert store.use(["f"]) == set()


def test_a_damaged_record_is_no_record(store: WorkStore, caplog: pytest.LogCaptureFixture) -> None:
    put = store.put("f", SHARD)
    record = store.folder / "f.json"
    whole = record.read_bytes()
    for at in range(len(whole)):
        flip(record, at)
        assert store.find("f") in (None, put), at
        record.write_bytes(whole)
    assert "f.json is damaged" in caplog.text
    for text in ("", "[]", "{}", "null", '{"digest": 1, "entries": [], "check": ""}'):
        record.write_text(text)
        assert store.find("f") is None


def test_a_record_under_another_name_is_no_record(store: WorkStore) -> None:
    """Someone renames files in the store: other parameters must not meet them."""
    path = store.put("f", SHARD).path
    shutil.copy(store.folder / "f.json", store.folder / "g.json")
    shutil.copy(path, store.folder / path.name.replace("f-", "g-"))
    assert store.find("g") is None


def test_a_shard_without_its_bytes_or_without_its_record_is_missing(store: WorkStore) -> None:
    store.put("f", SHARD).path.unlink()
    assert store.find("f") is None
    store.put("g", SHARD)
    (store.folder / "g.json").unlink()
    assert store.find("g") is None
    assert [job.fingerprint for job in store.missing([Toy("f"), Toy("g")])] == ["f", "g"]


def test_missing_jobs_are_found_as_they_are_asked_for(store: WorkStore) -> None:
    """A plan of any length takes no memory."""
    asked: list[str] = []

    def jobs() -> Iterator[Toy]:
        for number in range(10**9):
            asked.append(str(number))
            yield Toy(str(number))

    store.put("0", SHARD)
    assert next(store.missing(jobs())) == Toy("1")
    assert asked == ["0", "1"]


def test_a_run_says_what_it_uses_and_learns_what_is_left(
    store: WorkStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store.put("a", SHARD)
    store.put("b", SHARD)
    assert store.use(["a", "c", "d"]) == {"c", "d"}
    assert read_in_use("stage", tmp_path) == {"a", "c", "d"}
    assert f"1 of 3 shards are finished in {store.folder}" in caplog.messages


def test_outputs_are_hard_links(store: WorkStore, tmp_path: Path) -> None:
    finished = store.put("f", SHARD)
    target = tmp_path / "data/shards/car-0000.tar"
    for _ in range(2):  # what stands there is replaced
        assert store.hand_over(Toy("f"), target) == finished
        assert target.samefile(finished.path)
    target.unlink()
    assert store.verify("f")


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_outputs_are_copies_where_there_are_no_hard_links(
    store: WorkStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    finished = store.put("f", SHARD)
    monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "data/shards/car-0000.tar"
    store.hand_over(Toy("f"), target)
    assert target.read_bytes() == SHARD.data and not target.samefile(finished.path)


def test_an_output_edited_in_place_is_found_out(store: WorkStore, tmp_path: Path) -> None:
    """It is a link: the edit is in the store too, and is not used again."""
    target = tmp_path / "out.tar"
    store.put("f", SHARD)
    store.hand_over(Toy("f"), target)
    with open(target, "r+b") as file:
        file.write(b"edited")
    assert store.use(["f"]) == {"f"}
    store.put("f", SHARD)
    store.hand_over(Toy("f"), target)
    assert target.read_bytes() == SHARD.data


def test_a_shard_that_goes_while_a_stage_runs_is_told(store: WorkStore, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"car-0000\.tar was removed while stage ran; run it again"
    ):
        store.hand_over(Toy("f"), tmp_path / "out.tar")


PUT_OFTEN = """
import sys
from pathlib import Path
from tasks.work_store import Shard, WorkStore
store, byte = WorkStore("stage", Path(sys.argv[1])), int(sys.argv[2])
print("ready", flush=True)
for _ in range(50):
    number = sys.stdin.readline().strip()  # both get it at once
    store.put(number, Shard(bytes([byte]) * 1000, [{"byte": byte}]))
"""


@pytest.mark.parametrize("bytes_of_two", [(1, 1), (1, 2)], ids=["alike", "one halved its batch"])
def test_two_processes_that_finish_the_same_shard_leave_one_that_is_whole(
    tmp_path: Path, bytes_of_two: tuple[int, int]
) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PUT_OFTEN, str(tmp_path), str(byte)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for byte in bytes_of_two
    ]
    for process in processes:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for number in range(50):
        for process in processes:
            assert process.stdin
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    store = WorkStore("stage", tmp_path)
    for number in range(50):
        assert store.verify(str(number))
        finished = store.find(str(number))
        assert finished and finished.path.read_bytes()[0] == finished.entries[0]["byte"]


@pytest.mark.parametrize("at", [0, 1])
def test_a_full_disk_leaves_the_store_as_it_was(
    store: WorkStore, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Full while the shard is written, and while its record is."""
    store.put("f", SHARD)
    before = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    calls = iter(range(9))
    fsync = os.fsync

    def full(handle: int) -> None:
        if next(calls) == 2 * at:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            store.put("g", Shard(b"more", []))
    after = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    assert store.find("g") is None and store.verify("f")
    assert {name for name in after if name not in before} <= {
        store.put("g", Shard(b"more", [])).path.name
    }
    assert store.verify("g")


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        store = WorkStore("stage", tmp_path)
        store.put("f", SHARD)
        with pytest.raises(OSError, match="No space left") as caught:
            store.put("g", Shard(bytes(10**6), []))
        assert caught.value.errno == errno.ENOSPC
        assert store.verify("f") and store.find("g") is None
        assert not list(store.folder.glob("*.partial"))
        store.put("g", SHARD)
        assert store.verify("g")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_records_of_another_format_are_computed_again(
    store: WorkStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("f", SHARD)
    monkeypatch.setattr(work_store, "FORMAT", work_store.FORMAT + 1)
    assert store.use(["f"]) == {"f"}
