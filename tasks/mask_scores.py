"""What can be said of one sample by looking at it: its image, and the shape of each class.

Imports no torch.
"""

from typing import Any

import cv2
import numpy as np

Row = dict[str, Any]

DARK = 8
"""Grey levels up to which a pixel counts as black."""
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def luma(image: np.ndarray) -> np.ndarray:
    """``uint8 (H, W, 3)`` RGB to ``uint8 (H, W)``, by ITU-R BT.601."""
    grey: np.ndarray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return grey


def image_scores(grey: np.ndarray) -> Row:
    """How black and how flat an image is, see `tasks.records.SCORES`.

    Args:
        grey: `luma` of it.
    """
    counts = np.bincount(grey.ravel(), minlength=256)
    levels = np.arange(256)
    mean = counts @ levels / grey.size
    variance = counts @ (levels - mean) ** 2 / grey.size
    return {
        "dark": float(counts[: DARK + 1].sum() / grey.size),
        "contrast": float(np.sqrt(variance)),
    }


def shape_scores(inside: np.ndarray) -> Row:
    """Components and border contact of a class, see `tasks.records.SCORE_CLASS`.

    Neighbours count along edges and corners for components; the outline is what has a neighbour
    along an edge that is not of the class, or none, as on the image's border. All is 0 for a class
    that is nowhere.

    Args:
        inside: ``bool (H, W)``.
    """
    if not inside.any():
        return {"components": 0, "largest": 0.0, "border": 0.0}
    mask = inside.astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    areas = stats[1:, cv2.CC_STAT_AREA]
    outline = mask - cv2.erode(mask, CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    on_border = int(outline.sum()) - int(outline[1:-1, 1:-1].sum())
    return {
        "components": count - 1,
        "largest": float(areas.max() / areas.sum()),
        "border": on_border / int(outline.sum()),
    }
