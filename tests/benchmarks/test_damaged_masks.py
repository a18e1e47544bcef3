from pathlib import Path

import numpy as np
import pytest

from benchmarks import damaged_masks
from benchmarks.damaged_masks import CELLS, coarse_maps, read_pictures


def test_pictures_come_by_id_with_void_kept_and_a_seed_each(small_voc: Path) -> None:
    pictures = list(read_pictures(small_voc))
    assert [picture.classes.tolist() for picture in pictures] == [[0, 3, 5], [0, 3]] * 2
    assert set(np.unique(pictures[0].truth)) == {0, 3, 5, 255}
    assert pictures[0].image.shape == (128, 128, 3)
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
    assert np.sqrt((far[far > 0] ** 2).mean()) == pytest.approx(damaged_masks.NOISE, rel=0.3)
    monkeypatch.setattr(damaged_masks, "NOISE", 0.0)
    _, maps = coarse_maps(truth, np.random.default_rng(0))
    assert maps.sum() == pytest.approx(40 * 40 / 100, rel=1e-3)  # the area, in cells of 10x10
    assert 0.5 < maps.max() < 0.99
    at = np.arange(CELLS)
    centre = np.array([maps[0].sum(1) @ at, maps[0].sum(0) @ at]) / maps.sum() - 7.5
    right, down = np.random.default_rng(0).uniform(-1, 1, 2)
    np.testing.assert_allclose(centre, [down, right], atol=0.06)
