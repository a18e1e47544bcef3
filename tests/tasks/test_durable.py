"""Files that appear whole or not at all, whatever happens while they are written."""

import errno
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.durable import new_file, remove_abandoned, sync_tree


def test_the_order_is_write_flush_rename_flush_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that neither a crash nor a power cut leaves a name without its bytes."""
    done: list[tuple[str, ...]] = []
    path = tmp_path / "new/shard.tar"
    fsync, replace = os.fsync, os.replace

    def watched_fsync(handle: int) -> None:
        found = str(Path(f"/proc/self/fd/{handle}").readlink())
        size = os.fstat(handle).st_size
        folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        done.append(("fsync", "folder" if folder else f"file of {size}", found))
        fsync(handle)

    def watched_replace(source: Path, target: Path) -> None:
        done.append(("rename", str(source), str(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    with new_file(path) as file:
        file.write(b"12345")
        assert done == [] and not path.exists()
    partial = done[0][2]
    assert Path(partial).parent == path.parent and partial != str(path)
    assert done == [
        ("fsync", "file of 5", partial),
        ("rename", partial, str(path)),
        ("fsync", "folder", str(path.parent)),
    ]
    assert path.read_bytes() == b"12345"


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), new_file(path) as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"), new_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with new_file(path) as first:
        first.write(b"first")
        with new_file(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writers_half_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from tasks.durable import new_file
with new_file(Path({str(tmp_path)!r}) / "shard.v1.tar") as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False
    )
    assert killed.returncode < 0
    (half,) = tmp_path.iterdir()
    assert half.read_bytes() == b"half"
    elsewhere = tmp_path / "shard.tar.another-host.1.0.partial"
    assert socket.gethostname() != "another-host"
    elsewhere.touch()
    (tmp_path / "other.partial").touch()  # of something else
    with new_file(tmp_path / "mine") as file:
        remove_abandoned(tmp_path)
        file.write(b"whole")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "mine", tmp_path / "other.partial", elsewhere]
    assert (tmp_path / "mine").read_bytes() == b"whole"


def test_a_tree_is_flushed_with_all_that_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/file").write_bytes(b"1")
    flushed = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: flushed.append(Path(f"/proc/self/fd/{handle}").readlink())
    )
    sync_tree(tmp_path)
    assert sorted(flushed) == [tmp_path, tmp_path / "inner", tmp_path / "inner/file"]
    assert flushed[-1] == tmp_path
