from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import refinement
from benchmarks.refinement import (
    Recipe,
    Scores,
    best_of_each,
    coarse_maps,
    measure,
    read_pictures,
    upsample_only,
)
from tasks.label_maps import encode_label

CELLS, SIDE = refinement.CELLS, 128


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four pictures in VOC's layout: a bright disc (class 3), half of them with a blue bar (5)."""
    monkeypatch.setattr(refinement, "SIDE", SIDE)
    monkeypatch.setattr(refinement, "RADII", (12,))
    monkeypatch.setattr(refinement, "SUBSAMPLE", 2)
    y, x = np.mgrid[:96, :120]
    names = ["2007_000004", "2007_000001", "2007_000003", "2007_000002"]
    for name in names:
        number = int(name[-1])
        image = np.full((96, 120, 3), (40, 90, 40), np.uint8)
        truth = np.zeros((96, 120), np.uint8)
        distance = np.hypot(y - 50, x - 40 - 5 * number)
        truth[distance < 30], image[distance < 30] = 255, (230, 200, 60)
        truth[distance < 28] = 3
        if number % 2:
            truth[4:20, 10:110], image[4:20, 10:110] = 5, (30, 30, 220)
        for kind, data in (("JPEGImages", image), ("SegmentationClass", truth)):
            path = tmp_path / kind / name
            path.parent.mkdir(exist_ok=True)
            if kind == "JPEGImages":
                Image.fromarray(data).save(path.with_suffix(".jpg"), quality=95)
            else:
                path.with_suffix(".png").write_bytes(encode_label(data))
    (tmp_path / "ids.txt").write_text("\n".join(names) + "\n")
    return tmp_path


def test_pictures_come_by_id_with_void_kept_and_a_seed_each(folder: Path) -> None:
    pictures = list(read_pictures(folder))
    assert [picture.classes.tolist() for picture in pictures] == [[0, 3, 5], [0, 3]] * 2
    assert set(np.unique(pictures[0].truth)) == {0, 3, 5, 255}
    assert pictures[0].image.shape == (SIDE, SIDE, 3)
    assert pictures[0].maps.shape == (1, 2, CELLS, CELLS)
    for seed, picture in enumerate(pictures):
        _, maps = coarse_maps(picture.truth, np.random.default_rng(seed))
        assert np.array_equal(picture.maps[0].numpy(), maps)


def test_damage_blurs_shifts_and_adds_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = np.zeros((160, 160), np.uint8)
    truth[60:100, 60:100] = 7
    truth[0, 0] = 255
    classes, maps = coarse_maps(truth, np.random.default_rng(0))
    assert classes.tolist() == [7]
    assert maps.min() == 0
    far = maps[0, [0, 1, -2, -1]]  # noise alone, its negative half cut off
    assert np.sqrt((far[far > 0] ** 2).mean()) == pytest.approx(refinement.NOISE, rel=0.3)
    monkeypatch.setattr(refinement, "NOISE", 0.0)
    _, maps = coarse_maps(truth, np.random.default_rng(0))
    assert maps.sum() == pytest.approx(40 * 40 / 100, rel=1e-3)  # the area, in cells of 10x10
    assert 0.5 < maps.max() < 0.99
    at = np.arange(CELLS)
    centre = np.array([maps[0].sum(1) @ at, maps[0].sum(0) @ at]) / maps.sum() - 7.5
    right, down = np.random.default_rng(0).uniform(-1, 1, 2)
    np.testing.assert_allclose(centre, [down, right], atol=0.06)


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
    picture = refinement.Picture(np.zeros((32, 32, 3), np.uint8), truth, np.uint8([0, 9]), maps)
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
