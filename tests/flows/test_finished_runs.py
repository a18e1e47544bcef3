"""What is kept of finished runs, and when it no longer counts."""

from pathlib import Path

from flows.finished_runs import Finished
from flows.grids import Cell, Grid
from flows.outside_inputs import OutsideInputs


def test_a_row_that_a_kill_cut_short_is_run_again(tmp_path: Path) -> None:
    grid = Grid.model_validate({"title": "T", "seeds": [0, 1], "settings": {"a": {}}})
    first, second = (Cell("a", seed, grid.measure, {}, {"stage": str(seed)}) for seed in (0, 1))
    path = tmp_path / "grid.ndjson"
    (tmp_path / "dvc.yaml").write_text("stages: {}")
    inputs = OutsideInputs(tmp_path, "commit")
    finished = Finished(path, inputs)
    finished.add(first, grid, {"value": 0.25})
    finished.add(second, grid, {"value": 0.5})
    path.write_text(path.read_text()[:-5])
    finished = Finished(path, inputs)
    assert finished.get(first, grid) == {"value": 0.25} and finished.get(second, grid) is None
    finished.add(second, grid, {"value": 0.75})
    assert Finished(path, inputs).get(second, grid) == {"value": 0.75}
    assert Finished(path, OutsideInputs(tmp_path, "other")).get(second, grid) is None


def test_a_run_whose_inputs_outside_of_git_changed_is_not_finished(tmp_path: Path) -> None:
    grid = Grid.model_validate({"title": "T", "seeds": [0], "settings": {"a": {}}})
    cell = Cell("a", 0, grid.measure, {"train_reference": {"labelled_set": "data/voc"}}, {})
    (tmp_path / "data/voc").mkdir(parents=True)
    (tmp_path / "data/voc/1.png").write_bytes(b"1")
    (tmp_path / "dvc.yaml").write_text("stages: {}")
    path = tmp_path / "grid.ndjson"
    Finished(path, OutsideInputs(tmp_path, "commit")).add(cell, grid, {"value": 0.25})
    assert Finished(path, OutsideInputs(tmp_path, "commit")).get(cell, grid) == {"value": 0.25}
    (tmp_path / "data/voc/1.png").write_bytes(b"other")
    assert Finished(path, OutsideInputs(tmp_path, "commit")).get(cell, grid) is None
