"""A finished cell is not run again, and the smallest parameters give way to a cell's own."""

from pathlib import Path

import pytest

from benchmarks import cells
from benchmarks.cells import refuse_uncommitted, run_cells, with_quick
from benchmarks.record import Row
from tasks.git import git


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
    monkeypatch.setattr(cells, "refuse_uncommitted", lambda: None)
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


def test_rows_of_code_that_is_not_committed_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(["init", "--quiet"], tmp_path)
    for path in ("benchmarks/results/a.json", "notes.md"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    refuse_uncommitted(tmp_path)  # what an earlier benchmark has left
    (tmp_path / "benchmarks/more.py").write_text("")
    with pytest.raises(SystemExit, match=r"\?\? benchmarks/more.py\ncommit it"):
        refuse_uncommitted(tmp_path)

    def refused() -> None:
        raise SystemExit("dirty")

    monkeypatch.setattr(cells, "STORE", tmp_path)
    monkeypatch.setattr(cells, "refuse_uncommitted", refused)
    with pytest.raises(SystemExit, match="dirty"):
        run_cells("grid", {}, quick=False)
    assert run_cells("grid", {}, quick=True) == []
