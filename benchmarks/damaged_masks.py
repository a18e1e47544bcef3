"""Real pictures with their masks, and coarse class maps that damage makes of these."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from tasks.label_maps import IGNORE

VOC = Path(__file__).parents[2] / "shared/data/voc_subset"
SIDE = 512
"""Pictures are resized to this, in pixels; masks by their nearest pixel."""
CELLS = 16
"""Side of the coarse maps."""
BLUR, SHIFT, NOISE = 1.0, 1.0, 0.075
"""The damage: standard deviation in cells, largest shift in cells, standard deviation."""


@dataclass(frozen=True)
class Picture:
    """A real picture, its true mask, and the coarse maps made from it.

    Attributes:
        image: ``uint8 (H, W, 3)``.
        truth: ``uint8 (H, W)``, 255 is void.
        classes: label value of each channel of the stack, ``uint8 (1 + K,)``, 0 first.
        maps: ``float32 (1, K, CELLS, CELLS)``.
    """

    image: np.ndarray
    truth: np.ndarray
    classes: np.ndarray
    maps: Tensor


def coarse_maps(truth: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Damage a true mask into class maps such as attention gives.

    Args:
        truth: ``uint8 (H, W)``; void belongs to no class.

    Returns:
        The label values of the classes in it ``(K,)``, ascending, and their maps
        ``float32 (K, CELLS, CELLS)``, 0 or more: shifted by up to SHIFT cells each way, averaged
        over cells, blurred, with normal noise.
    """
    height, width = truth.shape
    classes = np.array([v for v in np.unique(truth) if v not in (0, IGNORE)], np.uint8)
    kernel = torch.exp(-(torch.arange(-3, 4) ** 2) / (2 * BLUR**2))
    kernel /= kernel.sum()
    maps = []
    for value in classes:
        right, down = rng.uniform(-SHIFT, SHIFT, 2)
        rows = np.arange(height) - round(down * height / CELLS)
        columns = np.arange(width) - round(right * width / CELLS)
        moved = truth[rows.clip(0, height - 1)][:, columns.clip(0, width - 1)] == value
        cells = functional.adaptive_avg_pool2d(torch.from_numpy(moved)[None, None].float(), CELLS)
        padded = functional.pad(cells, (3, 3, 3, 3), mode="replicate")
        blurred = functional.conv2d(padded, kernel[None, None, None])
        blurred = functional.conv2d(blurred, kernel[None, None, :, None])
        maps.append(blurred[0, 0].numpy() + rng.normal(0, NOISE, (CELLS, CELLS)))
    return classes, np.stack(maps).clip(0).astype(np.float32)


def read_pictures(folder: Path) -> Iterator[Picture]:
    """The pictures of a folder in VOC's layout with an ``ids.txt``, in the order of their ids.

    The damage of picture i, counted from 0, is drawn with seed i.
    """
    names = sorted((folder / "ids.txt").read_text(encoding="utf-8").split())
    for seed, name in enumerate(names):
        size = (SIDE, SIDE)
        with Image.open(folder / f"JPEGImages/{name}.jpg") as image:
            pixels = np.array(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))
        with Image.open(folder / f"SegmentationClass/{name}.png") as mask:
            truth = np.array(mask.resize(size, Image.Resampling.NEAREST))
        classes, maps = coarse_maps(truth, np.random.default_rng(seed))
        yield Picture(
            pixels,
            truth,
            np.concatenate([[0], classes]).astype(np.uint8),
            torch.from_numpy(maps)[None],
        )
