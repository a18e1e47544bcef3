"""Labels are made wrong in the ways that are named, and the reliability knows of it."""

import numpy as np
import pytest

from benchmarks.attention_noise import Noise, coarsen, swap_regions, wrong_labels


@pytest.fixture
def scene() -> np.ndarray:
    """Sky over road, a pole two pixels wide, a car, and an ignored corner."""
    label = np.zeros((90, 120), np.uint8)
    label[50:] = 1
    label[20:70, 60:62] = 2
    label[45:65, 20:45] = 3
    label[80:, :20] = 255
    return label


def test_thin_parts_are_lost_and_borders_become_coarse(scene: np.ndarray) -> None:
    coarse = coarsen(scene, Noise(), np.random.default_rng(0))
    assert 2 not in coarse and 255 not in coarse
    assert {0, 1, 3} <= set(np.unique(coarse))
    wrong = (coarse != scene) & (scene != 255)
    assert 0.01 < wrong.mean() < 0.2
    assert not wrong[:20].any() and not wrong[85:, 30:].any()  # far from any border


def test_whole_regions_are_swapped_and_some_of_them_unnoticed(scene: np.ndarray) -> None:
    scene[scene == 255] = 1
    swapped, unnoticed = swap_regions(
        scene, Noise(swapped=1.0, unnoticed=0.0, smallest=200), np.random.default_rng(0)
    )
    car = scene == 3
    assert len(np.unique(swapped[car])) == 1 and not (swapped == scene)[car].any()
    assert np.array_equal(swapped[scene == 2], scene[scene == 2])  # too small a region
    assert not unnoticed.any()
    rng = np.random.default_rng(0)
    assert swap_regions(scene, Noise(swapped=1.0, unnoticed=1.0), rng)[1][car].all()
    assert np.array_equal(swap_regions(scene, Noise(swapped=0.0), rng)[0], scene)


def test_reliability_knows_of_the_errors_imperfectly(scene: np.ndarray) -> None:
    right, wrong = [], []
    for seed in range(10):
        label, rank = wrong_labels(scene, seed)
        known = scene != 255
        right.append(rank[known & (label == scene)].mean())
        wrong.append(rank[known & (label != scene)].mean())
        assert rank[known & (label != scene)].max() > 128
    assert np.mean(right) > np.mean(wrong) + 30


def test_the_seed_makes_the_labels(scene: np.ndarray) -> None:
    one, again, other = (wrong_labels(scene, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[0], other[0])
