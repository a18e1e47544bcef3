"""Label maps and reliability as files.

A label map is ``uint8 (H, W)`` in a palette PNG, 255 = ignore, or, from 256 classes on, the
background counted, ``uint16 (H, W)`` in a 16-bit grey PNG, 65535 = ignore. The palette is always
written in full: without one, Pillow compacts the values of a mode-P image.
"""

import io

import numpy as np
from numpy.typing import DTypeLike
from PIL import Image

IGNORE, IGNORE_16_BIT = 255, 65535
"""Of ``uint8`` and of ``uint16`` label maps, the highest value; `ignore_value` tells it by type."""
BACKGROUND = 0
"""The label of what is no class, where there is such a label."""
MOST_LABELS: dict[np.dtype, int] = {
    np.dtype(np.uint8): IGNORE,
    np.dtype(np.uint16): IGNORE_16_BIT,
}
"""Of each type of label map, the background counted: all values below the one for ignore."""


def label_dtype(labels: int) -> np.dtype:
    """``uint8`` for up to 255 label values, the background counted, and ``uint16`` beyond.

    Raises:
        ValueError: there are more than 16 bits can tell apart.
    """
    for dtype, most in MOST_LABELS.items():
        if labels <= most:
            return dtype
    raise ValueError(f"{labels} labels do not fit a label map of 16 bits, which holds {most}")


def ignore_value(dtype: DTypeLike) -> int:
    """The label where nothing is said, 255 or 65535.

    Raises:
        ValueError: label maps have another type.
    """
    if np.dtype(dtype) not in MOST_LABELS:
        raise ValueError(f"a label map is uint8 or uint16, not {np.dtype(dtype)}")
    return MOST_LABELS[np.dtype(dtype)]


def palette(count: int = 256) -> list[tuple[int, int, int]]:
    """The colours of PASCAL VOC's colour map: bit ``k`` of a value spreads over R, G and B."""
    colours = []
    for value in range(count):
        rgb = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                rgb[channel] |= ((value >> (3 * bit + channel)) & 1) << (7 - bit)
        colours.append((rgb[0], rgb[1], rgb[2]))
    return colours


_FLAT_PALETTE = [channel for colour in palette() for channel in colour]


def encode_label(label: np.ndarray) -> bytes:
    """A label map ``(H, W)``: ``uint8`` as palette PNG, ``uint16`` as 16-bit grey PNG.

    Raises:
        ValueError: it has another type or shape.
    """
    if label.dtype not in MOST_LABELS or label.ndim != 2:
        raise ValueError(
            f"a label map must be uint8 or uint16 (H, W), not {label.dtype} {label.shape}"
        )
    image = Image.fromarray(label)
    if label.dtype == np.uint8:
        image.putpalette(_FLAT_PALETTE)
    return _png(image)


def encode_grey(values: np.ndarray) -> bytes:
    """Reliability, ``uint8 (H, W)`` with 0..255 meaning 0..1, as grey PNG.

    Raises:
        ValueError: it has another type or shape.
    """
    if values.dtype != np.uint8 or values.ndim != 2:
        raise ValueError(
            f"a reliability map must be uint8 (H, W), not {values.dtype} {values.shape}"
        )
    return _png(Image.fromarray(values))


def encode_image(image: np.ndarray) -> bytes:
    """An image ``uint8 (H, W, 3)`` as PNG."""
    return _png(Image.fromarray(image))


def decode(data: bytes) -> np.ndarray:
    """A PNG's values as stored: ``uint8 (H, W)`` or ``(H, W, 3)``, or ``uint16 (H, W)``.

    Palettes stay indices.
    """
    return np.array(Image.open(io.BytesIO(data)))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()
