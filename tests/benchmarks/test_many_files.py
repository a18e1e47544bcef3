"""The measurement of many samples compares the same samples, and finds DVC with nothing to do."""

from pathlib import Path

from benchmarks.many_files import SHARD, loosen, make_samples, measure
from tasks import records


def test_shards_and_loose_files_hold_the_same(tmp_path: Path) -> None:
    taken = make_samples(2 * SHARD, tmp_path)
    assert set(taken) == {"sample_images", "extract_masks"}
    assert all(2**16 < size < 500 * 2**20 for size in taken.values())
    rows = records.read_rows(tmp_path / "data/samples/index.parquet")
    assert len(rows) == 2 * SHARD
    loosen(tmp_path, tmp_path / "loose/made")
    files = sorted((tmp_path / "loose/made").iterdir())
    assert len(files) == 4 * SHARD
    row = rows[-1]
    shard = (tmp_path / row["shard"]).read_bytes()
    image = (tmp_path / f"loose/made/{row['sample_id']}.png").read_bytes()
    assert shard[row["image_offset"] :][: row["image_size"]] == image
    measured = measure("loose files", tmp_path / "loose", rounds=1)
    assert measured["files"] == 4 * SHARD
    assert float(measured["dvc status, s"]) > 0
