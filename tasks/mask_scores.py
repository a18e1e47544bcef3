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
    _, deviation = cv2.meanStdDev(grey)
    return {
        "dark": np.count_nonzero(grey <= DARK) / grey.size,
        "contrast": float(deviation[0, 0]),
    }


def shape_scores(inside: np.ndarray) -> Row:
    """Components and border contact of a class, see `tasks.records.SCORE_CLASS`.

    Neighbours count along edges and corners for components; the outline is what has a neighbour
    along an edge that is not of the class, or none, as on the image's border. All is 0 for a class
    that is nowhere.

    Args:
        inside: ``bool (H, W)``.
    """
    mask = inside.astype(np.uint8)
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return {"components": 0, "largest": 0.0, "border": 0.0}
    box = mask[top : top + height, left : left + width]  # beyond it there is nothing of the class
    count, _, stats, _ = cv2.connectedComponentsWithStats(box)
    areas = stats[1:, cv2.CC_STAT_AREA]
    inner = cv2.erode(box, CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    outline = int(areas.sum()) - cv2.countNonZero(inner)
    on_border = int(mask[[0, -1]].sum()) + int(mask[1:-1, [0, -1]].sum())
    return {
        "components": count - 1,
        "largest": float(areas.max() / areas.sum()),
        "border": on_border / outline,
    }
