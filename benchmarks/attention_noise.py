"""True label maps made wrong in the ways in which masks from attention are, and how sure they are.

Attention lies on a coarse grid, so borders are rough and thin parts are lost; and now and then it
goes to the wrong word, so that a whole region has another class's label. A margin between scores is
low near borders and where words compete, but not in every wrong place, and it is low in some right
ones too: reliability knows of the errors, imperfectly.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from tasks.label_maps import IGNORE
from tasks.masks import margin_rank


@dataclass(frozen=True)
class Noise:
    """How wrong labels are.

    Attributes:
        cell: side of the coarse grid's cells, in pixels.
        shift: largest displacement of the grid, in pixels.
        swapped: share of the regions that get another class's label.
        smallest: area from which on a region is one, in pixels.
        unnoticed: share of the swapped regions whose reliability says nothing of it.
        blur: standard deviation by which the errors are smeared before they become reliability.
        doubt: standard deviation of the smooth error of the reliability itself, 0..1.
    """

    cell: int = 10
    shift: int = 5
    swapped: float = 0.15
    smallest: int = 60
    unnoticed: float = 0.3
    blur: float = 3.0
    doubt: float = 0.2


def coarsen(label: np.ndarray, noise: Noise, rng: np.random.Generator) -> np.ndarray:
    """The class with the largest share of smooth cells of a displaced grid, ``uint8 (H, W)``.

    Args:
        label: ``uint8 (H, W)``; ignored pixels belong to no class.
    """
    height, width = label.shape
    cells = (max(1, width // noise.cell), max(1, height // noise.cell))
    down, right = rng.integers(-noise.shift, noise.shift + 1, 2)
    move = np.array([[1, 0, right], [0, 1, down]], np.float32)
    values = np.unique(label[label != IGNORE])
    shares = []
    for value in values:
        moved = cv2.warpAffine(
            (label == value).astype(np.float32),
            move,
            (width, height),
            borderMode=cv2.BORDER_REFLECT,
        )
        coarse = cv2.resize(moved, cells, interpolation=cv2.INTER_AREA)
        shares.append(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))
    return np.asarray(values[np.argmax(shares, axis=0)], np.uint8)


def swap_regions(
    label: np.ndarray, noise: Noise, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Give some connected regions the label of another class of the image.

    Returns:
        The labels, and where a region was swapped without being noticed, ``bool (H, W)``.
    """
    swapped, unnoticed = label.copy(), np.zeros(label.shape, bool)
    values = np.unique(label)
    for value in values:
        others = values[values != value]
        count, regions = cv2.connectedComponents((label == value).astype(np.uint8))
        for number in range(1, count):
            region = regions == number
            if region.sum() < noise.smallest or not others.size or rng.random() >= noise.swapped:
                continue
            swapped[region] = rng.choice(others)
            unnoticed[region] = rng.random() < noise.unnoticed
    return swapped, unnoticed


def wrong_labels(
    label: np.ndarray, seed: int, noise: Noise | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A label map as attention would have it, and the rank of its reliability.

    Args:
        label: the truth, ``uint8 (H, W)``; where it is ignored nothing is known to be wrong.
        seed: of all that is random here.
        noise: None takes the defaults.

    Returns:
        ``uint8 (H, W)``, a class for every pixel, and ``uint8 (H, W)``, the rank within each class
        (`tasks.masks.margin_rank`).
    """
    noise = noise or Noise()
    rng = np.random.default_rng(seed)
    wrong, unnoticed = swap_regions(coarsen(label, noise, rng), noise, rng)
    noticed = (wrong != label) & (label != IGNORE) & ~unnoticed
    smeared = cv2.GaussianBlur(noticed.astype(np.float32), (0, 0), noise.blur)
    smooth = cv2.GaussianBlur(
        rng.standard_normal(label.shape).astype(np.float32), (0, 0), 2 * noise.blur
    )
    margin = 1 - smeared + noise.doubt * smooth / smooth.std()
    return wrong, margin_rank(wrong, margin)
