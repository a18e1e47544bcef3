from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from benchmarks.lineage_tables import changed, ids, margins, write_state


def test_ids_are_as_long_as_real_ones_and_different() -> None:
    found = ids("sample", rows=np.arange(10_000))
    assert len(set(found)) == 10_000 and {len(one) for one in found} == {16}
    assert found[5:7] == ids("sample", rows=np.arange(5, 7))


def test_a_change_concerns_its_share() -> None:
    rows = changed("images", np.arange(20_000), 0.05)
    assert 0.045 < rows.mean() < 0.055


def test_a_state_has_the_rows_that_it_should(tmp_path: Path) -> None:
    write_state(tmp_path, np.arange(25), later=False)
    for name in ("prompts", "samples/index", "masks/index", "scores/index", "dataset/index"):
        assert parquet.read_metadata(tmp_path / f"data/{name}.parquet").num_rows == 25
    scores = parquet.read_table(tmp_path / "data/scores/index.parquet").to_pylist()
    assert all(row["finite"] for row in scores)
    assert [row["classes"][0]["margin"] for row in scores] == margins(np.arange(25)).tolist()


def test_margins_are_spread_and_survive_the_table() -> None:
    found = margins(np.arange(20_000))
    assert np.quantile(found, [0.05, 0.5]) == pytest.approx([0.05, 0.5], abs=0.01)
    assert (found.astype(np.float32) == found).all()
