"""A finished cell is not run again, and the smallest parameters give way to a cell's own."""

from pathlib import Path

import pytest

from benchmarks import cells
from benchmarks.cells import run_cells, with_quick
from benchmarks.record import Row


def test_a_cells_own_parameters_come_before_the_smallest_ones() -> None:
    own = {"train_segmenter": {"iterations": 7}, "adapt_lora": {"steps": 3}}
    merged = with_quick(own, quick=True)
    assert merged["train_segmenter"] == {
        "iterations": 7,
        "batch_size": 4,
        "checkpoint_interval": 2,
    }
    assert merged["adapt_lora"] == {"steps": 3}
    assert merged["expand_prompts"] == {"images_per_class": 2}
    assert with_quick(own, quick=False) == own


def test_a_stopped_grid_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "STORE", tmp_path)
    monkeypatch.setattr(cells, "committed", lambda: "abc")
    ran: list[str] = []

    def cell(key: str) -> Row:
        ran.append(key)
        if len(ran) == 2:
            raise KeyboardInterrupt
        return {"cell": key}

    grid = {key: lambda key=key: cell(key) for key in ("a", "b", "c")}
    with pytest.raises(KeyboardInterrupt):
        run_cells("grid", grid, quick=True)
    assert run_cells("grid", grid, quick=True) == [{"cell": "a"}, {"cell": "b"}, {"cell": "c"}]
    assert ran == ["a", "b", "b", "c"]
    run_cells("grid", grid, quick=True)
    assert len(ran) == 4
    kept = tmp_path / "grid.ndjson"
    kept.write_text(kept.read_text()[:-5])  # killed while it was written
    assert run_cells("grid", grid, quick=True)[-1] == {"cell": "c"}
    assert ran.pop() == "c" and len(ran) == 4
    run_cells("grid", {"a": grid["a"]}, quick=False)  # not what a smoke run left
    monkeypatch.setattr(cells, "committed", lambda: "def")
    run_cells("grid", {"a": grid["a"]}, quick=True)
    assert ran[4:] == ["a", "a"]
