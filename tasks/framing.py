"""Windows of images at the sizes that a network is trained at: random crops, aspect buckets.

An image is resized, its aspect kept, until the window just fits, and cut there. Imports no torch.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

Size = tuple[int, int]
"""Height and width in pixels."""

BUCKET_STEP = 64
"""Pixels between the sides of buckets, where the model's own step is no larger."""
MOST_ASPECT = 2.5
"""Longest bucket, as its longer side by its shorter one."""


def buckets(size: Size, step: int) -> list[Size]:
    """Sizes of about the same area and of other aspects, from wide to tall.

    For each side that is a multiple of the step, the other that comes nearest to the area.

    Args:
        size: the one that the others have the area of; it is a bucket itself.
        step: sides are multiples of it, or of 64 if that is more and `size` allows it.
    """
    height, width = size
    if height % BUCKET_STEP == 0 and width % BUCKET_STEP == 0 and min(size) > 2 * BUCKET_STEP:
        step = math.lcm(step, BUCKET_STEP)
    found = {size}
    for side in range(step, math.isqrt(round(height * width * MOST_ASPECT)) + 1, step):
        other = round(height * width / side / step) * step
        if other and max(side, other) <= MOST_ASPECT * min(side, other):
            found |= {(side, other), (other, side)}
    return sorted(found, key=lambda one: one[0] / one[1])


def nearest_bucket(image: Size, sizes: Sequence[Size]) -> Size:
    """The size whose aspect differs least from the image's, as a ratio."""
    aspect = math.log(image[0] / image[1])
    return min(sizes, key=lambda one: abs(math.log(one[0] / one[1]) - aspect))


def fit(image: np.ndarray, size: Size) -> np.ndarray:
    """Resize, smaller or larger, keeping the aspect, until a window of ``size`` just fits.

    Args:
        image: ``uint8 (H, W, 3)``.
        size: of the window.

    Returns:
        ``uint8 (h, w, 3)`` with h and w at least the window's, and one of them equal.
    """
    height, width = image.shape[:2]
    factor = max(size[0] / height, size[1] / width)
    scaled = max(size[0], round(height * factor)), max(size[1], round(width * factor))
    if scaled == (height, width):
        return image
    method = Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image).resize(scaled[::-1], method))


def windows(image: np.ndarray, size: Size, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random windows of an image, each once: fewer than ``count`` where there is no room for more.

    Args:
        image: ``uint8 (H, W, 3)``, of any size.
        size: of the windows.
        count: how many are drawn.
        rng: draws where they lie, uniformly.

    Returns:
        ``uint8 (n, h, w, 3)``, 1 <= n <= count.
    """
    height, width = size
    fitted = fit(image, size)
    room = fitted.shape[0] - height + 1, fitted.shape[1] - width + 1
    places = [(int(rng.integers(room[0])), int(rng.integers(room[1]))) for _ in range(count)]
    distinct = dict.fromkeys(places)
    return np.stack([fitted[y : y + height, x : x + width] for y, x in distinct])
