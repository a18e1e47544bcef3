import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmarks.lineage_state import record
from tasks.checksums import file_md5
from tasks.integrity import check
from tasks.records import read_rows

PROMPTS = "data/prompts.parquet"
SAMPLES = "data/samples/index.parquet"
MASKS = "data/masks/index.parquet"
DATASET = "data/dataset/index.parquet"


def findings(root: Path) -> list[tuple[str, str | None, str]]:
    found = check(root)
    assert found["ok"] == (not found["findings"])
    return [(one["path"], one["sample_id"], one["fault"]) for one in found["findings"]]


def rewrite(root: Path, name: str, change: Callable[[list[dict]], list[dict]]) -> None:
    """Change a table and record it, so that only what the rows say is wrong."""
    path = root / name
    schema = parquet.read_schema(path)
    parquet.write_table(pa.Table.from_pylist(change(read_rows(path)), schema=schema), path)
    record(root)


def test_a_whole_state(lineage_root: Path) -> None:
    found = check(lineage_root)
    assert found["findings"] == [] and found["ok"]
    files = [path for path in (lineage_root / "data").rglob("*") if path.is_file()]
    assert found["checked"]["files"] >= len(files)
    assert found["checked"]["shards"] == 4
    assert found["checked"]["samples"] == 6


@pytest.mark.parametrize("part", ["image", "attention", "label", "reliability"])
def test_a_flipped_byte_is_found_and_its_sample_and_shard_named(
    lineage_root: Path, part: str
) -> None:
    index = SAMPLES if part in ("image", "attention") else MASKS
    row = read_rows(lineage_root / index)[4]
    shard = lineage_root / row["shard"]
    data = bytearray(shard.read_bytes())
    data[row[f"{part}_offset"] + row[f"{part}_size"] // 2] ^= 1
    shard.write_bytes(data)
    ((path, sample, fault),) = findings(lineage_root)
    assert (path, sample) == (row["shard"], row["sample_id"])
    assert fault.startswith(f"{part}: bytes ")


@pytest.mark.parametrize(
    "name",
    ["data/dataset/classes.json", "models/segmenter/weights.pth", "metrics/filter.json"],
)
def test_any_other_output_is_held_to_the_lock(lineage_root: Path, name: str) -> None:
    path = lineage_root / name
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    ((found, sample, fault),) = findings(lineage_root)
    assert (found, sample) == (name, None)
    assert "is not what dvc.lock holds" in fault and "`dvc checkout --force`" in fault


def test_damage_that_dvcs_cache_shares_is_told_with_a_remedy_that_works(tmp_path: Path) -> None:
    def run(command: str) -> None:
        # What the finding says, with the DVC of these tests.
        command = command.replace("dvc ", f"{sys.executable} -m dvc ")
        subprocess.run(command, cwd=tmp_path, shell=True, check=True, capture_output=True)

    made = "mkdir out && printf whole > out/a && printf other > out/b"
    (tmp_path / "dvc.yaml").write_text(f"stages: {{make: {{cmd: {made}, outs: [out]}}}}\n")
    for command in ("dvc init --no-scm", "dvc config cache.type hardlink", "dvc repro"):
        run(command)
    lock, file = (tmp_path / "dvc.lock").read_text(), tmp_path / "out/a"
    assert file.stat().st_nlink == 2 and findings(tmp_path) == []
    before = file.stat()
    file.chmod(0o644)
    with open(file, "r+b") as opened:  # in place, so that the cache's object has it too
        opened.write(b"W")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a disk's fault would
    file.chmod(0o444)
    ((path, _, fault),) = findings(tmp_path)
    assert path == "out/a" and "DVC's cache holds the same damage" in fault
    for command in re.findall("`(.+?)`", fault):
        run(command)
    assert file.read_text() == "whole" and findings(tmp_path) == []
    assert (tmp_path / "dvc.lock").read_text() == lock


def test_a_shards_damage_in_the_cache_is_told_beside_its_samples(lineage_root: Path) -> None:
    row = read_rows(lineage_root / SAMPLES)[4]
    shard = lineage_root / row["shard"]
    whole = file_md5(shard)
    data = bytearray(shard.read_bytes())
    data[row["image_offset"] + row["image_size"] // 2] ^= 1
    for file in (shard, lineage_root / f".dvc/cache/files/md5/{whole[:2]}/{whole[2:]}"):
        file.write_bytes(data)
    first, second = findings(lineage_root)
    assert first[:2] == (row["shard"], row["sample_id"])
    assert second[:2] == (row["shard"], None)
    assert second[2].endswith("then `dvc repro sample_images`")


def test_a_damaged_table_is_named(lineage_root: Path) -> None:
    path = lineage_root / PROMPTS
    data = bytearray(path.read_bytes())
    data[-10] ^= 0xFF
    path.write_bytes(data)
    ((found, _, fault),) = findings(lineage_root)
    assert found == PROMPTS and fault.startswith("cannot be read: ")


def test_without_the_cache_a_folder_as_a_whole_is_named(lineage_root: Path) -> None:
    shutil.rmtree(lineage_root / ".dvc/cache")
    assert findings(lineage_root) == []
    (lineage_root / "models/segmenter/extra").write_text("")
    ((found, _, fault),) = findings(lineage_root)
    assert found == "models/segmenter" and "is not what dvc.lock holds" in fault


def test_what_is_missing_or_too_much(lineage_root: Path) -> None:
    (lineage_root / "data/masks/shards/car-0000.tar").unlink()
    (lineage_root / "data/samples/shards/extra.tar").write_bytes(b"")
    shutil.rmtree(lineage_root / "models/reference")
    found = {path: fault for path, _, fault in findings(lineage_root)}
    assert set(found) == {
        "data/masks/shards/car-0000.tar",
        "data/samples/shards/extra.tar",
        "models/reference",
    }
    assert found["data/masks/shards/car-0000.tar"].startswith("is missing; 2 samples")
    assert "no part of data/samples" in found["data/samples/shards/extra.tar"]
    assert "`dvc checkout`" in found["models/reference"]


def test_an_id_that_stands_twice(lineage_root: Path) -> None:
    first = read_rows(lineage_root / PROMPTS)[0]["prompt_id"]
    rewrite(lineage_root, PROMPTS, lambda rows: [*rows, rows[0]])
    assert findings(lineage_root) == [(PROMPTS, first, "rows stand twice")]


def test_manifests_of_different_samples(lineage_root: Path) -> None:
    first = read_rows(lineage_root / DATASET)[0]["sample_id"]

    def other(rows: list[dict]) -> list[dict]:
        return [{**rows[0], "sample_id": "foreign"}, *rows[1:]]

    rewrite(lineage_root, DATASET, other)
    assert findings(lineage_root) == [
        (DATASET, first, f"rows are in {SAMPLES} but not here"),
        (DATASET, "foreign", f"rows are here but not in {SAMPLES}"),
    ]
    rewrite(lineage_root, PROMPTS, lambda rows: rows[:1])
    (about,) = [one for one in findings(lineage_root) if one[0] == SAMPLES]
    assert about[1] is None and about[2].startswith(f"5 rows have no row in {PROMPTS}: ")


def test_an_address_that_is_not_the_indexs(lineage_root: Path) -> None:
    second = read_rows(lineage_root / DATASET)[1]["sample_id"]

    def other(rows: list[dict]) -> list[dict]:
        rows[1]["label"] = rows[2]["label"]
        return rows

    rewrite(lineage_root, DATASET, other)
    assert findings(lineage_root) == [
        (DATASET, second, f"rows have another label address than in {MASKS}")
    ]


def test_rows_that_call_their_shard_by_another_digest(lineage_root: Path) -> None:
    shard = read_rows(lineage_root / MASKS)[0]["shard"]

    def other(rows: list[dict]) -> list[dict]:
        rows[0]["shard_digest"] = "ab"
        return rows

    rewrite(lineage_root, MASKS, other)
    ((path, sample, fault),) = findings(lineage_root)
    assert (path, sample) == (shard, None) and fault.endswith("and its index says ab")


def test_without_a_lock_shards_and_rows_are_checked(lineage_root: Path) -> None:
    (lineage_root / "dvc.lock").unlink()
    found = check(lineage_root)
    assert found["ok"] and not found["checked"]["against_dvc_lock"]
    assert found["checked"]["files"] == found["checked"]["shards"] == 4
