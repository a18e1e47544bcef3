"""Run lengths are read as pycocotools reads them, and damaged ones are refused."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tasks.validators.run_lengths import area, decompress


def masks() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    found = [np.zeros((5, 7), bool), np.ones((5, 7), bool)]
    found += [rng.random((37, 53)) < share for share in (0.01, 0.5, 0.99)]
    block = np.zeros((700, 900), bool)
    block[100:650, 3:800] = True
    block[300:, ::7] = False
    return [*found, block]


@pytest.mark.parametrize("mask", masks(), ids=lambda mask: f"{mask.shape} {mask.mean():.2f}")
def test_pixels_are_those_of_pycocotools(mask: np.ndarray) -> None:
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = encoded["counts"].decode()
    assert area({"size": [*mask.shape], "counts": text}, *mask.shape) == mask.sum()
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat.astype(int))) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    runs = [0, *runs] if flat[0] else runs
    assert decompress(text).tolist() == runs
    assert area({"size": [*mask.shape], "counts": runs}, *mask.shape) == mask.sum()


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        ("", "run lengths for 0 pixels of 12"),
        ("<", "run lengths for 12 pixels of 16"),
        ("~~", "characters that no run length has"),
        ("\x1b[2J", "characters that no run length has"),
        ("犬", "characters that no run length has"),
        ("l", "the last run length is cut short"),
        ("oooooooooooooooo0", "a run length of too many digits"),
        ("0O", "run lengths below 0 or beyond the image"),
        ([-4, 8, 8], "run lengths below 0"),
        ([4, 4], "run lengths for 8 pixels of 12"),
        ([2**80], "run lengths beyond the image"),
        ([1.5], "neither a string nor a list of integers"),
        (None, "neither a string nor a list of integers"),
    ],
)
def test_damage_is_refused(counts: object, problem: str) -> None:
    side = 4 if counts == "<" else 3
    with pytest.raises(ValueError, match=problem):
        area({"size": [side, 4], "counts": counts}, side, 4)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a mask of size \[4, 3\]"):
        area({"size": [4, 3], "counts": [12]}, 3, 4)
