from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import refinement
from benchmarks.damaged_masks import CELLS, Picture, read_pictures
from benchmarks.refinement import Recipe, Scores, best_of_each, measure, upsample_only


@pytest.fixture
def folder(small_voc: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small pictures, and settings to their scale."""
    monkeypatch.setattr(refinement, "RADII", (12,))
    monkeypatch.setattr(refinement, "SUBSAMPLE", 2)
    return small_voc


def test_the_best_of_a_kind_is_the_one_with_the_highest_mean_iou() -> None:
    recipe = {name: Recipe(name, "", upsample_only) for name in "ab"}
    scores = [
        Scores(recipe[name], beta, miou, 0.0)
        for name, beta, miou in [("a", 0.2, 0.5), ("b", 0.2, 0.9), ("a", 0.3, 0.7), ("a", 0.4, 0.6)]
    ]
    best = best_of_each(scores, lambda one: one.recipe.name)
    assert [(one.recipe.name, one.beta) for one in best] == [("a", 0.3), ("b", 0.2)]


def test_a_recipe_labels_by_the_best_channel() -> None:
    truth = np.zeros((32, 32), np.uint8)
    truth[:, 16:] = 9
    maps = torch.zeros(1, 1, CELLS, CELLS)
    maps[..., CELLS // 2 :] = 1
    picture = Picture(np.zeros((32, 32, 3), np.uint8), truth, np.uint8([0, 9]), maps)
    assert np.array_equal(Recipe("", "", upsample_only).label(picture, 0.0), truth)


def test_measures_all_recipes_on_the_pictures_that_did_not_choose(folder: Path) -> None:
    pytest.importorskip("pydensecrf.densecrf", reason="the dense CRF is an extra: `make crf`")
    rows, bars = measure(list(read_pictures(folder)), choosing=2, rounds=1)
    reported = {row["recipe"]: row for row in rows if row["pictures"] == "reporting, 2"}
    assert list(reported) == ["upsample", "guided", "crf"]
    assert len(rows) == 3 + 1 + 4 + 1
    tried = [row for row in rows if row["recipe"] == "guided"]
    chosen = max(tried[:-1], key=lambda row: row["mean IoU"])
    assert tried[-1]["settings"] == chosen["settings"]
    miou = {name: row["mean IoU"] for name, row in reported.items()}
    assert miou["guided"] - miou["upsample"] > 0.05
    assert [bar.value for bar in bars[:2]] == pytest.approx(
        [miou["guided"] - miou["upsample"], miou["guided"] - miou["crf"]], abs=2e-4
    )
    speeds = {name: row["images/s"] for name, row in reported.items()}
    assert bars[2].value == pytest.approx(speeds["guided"] / speeds["crf"], rel=0.01)


def test_quick_prints_the_table_and_writes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pydensecrf.densecrf", reason="the dense CRF is an extra: `make crf`")
    monkeypatch.setattr(refinement, "RESULTS", folder / "results")
    threads = torch.get_num_threads()
    try:
        refinement.main(data=folder, quick=True)
    except SystemExit as ended:  # four small pictures need not keep the bars
        assert ended.code == 1
    printed = capsys.readouterr().out
    assert "upsample" in printed
    assert "gain over upsample" in printed
    assert not (folder / "results").exists()
    assert torch.get_num_threads() == threads


def test_without_the_pictures_it_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=rf"no ids.txt in {tmp_path}; name a folder .* --data"):
        refinement.main(data=tmp_path)
