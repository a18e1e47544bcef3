"""Label maps and reliability as files: palette PNG, ``uint8 (H, W)``, 255 = ignore.

The palette is always written in full: without one, Pillow compacts the values of a mode-P image.
"""

import io

import numpy as np
from PIL import Image

IGNORE = 255
BACKGROUND = 0


def palette(count: int = 256) -> list[tuple[int, int, int]]:
    """The colours of PASCAL VOC's colour map: bit ``k`` of a value spreads over R, G and B."""
    colours = []
    for value in range(count):
        rgb = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                rgb[channel] |= ((value >> (3 * bit + channel)) & 1) << (7 - bit)
        colours.append((rgb[0], rgb[1], rgb[2]))
    colours[IGNORE:] = [(224, 224, 192)] * len(colours[IGNORE:])
    return colours


_FLAT_PALETTE = [channel for colour in palette() for channel in colour]


def _check(array: np.ndarray, what: str) -> None:
    if array.dtype != np.uint8 or array.ndim != 2:
        raise ValueError(f"{what} must be uint8 (H, W), not {array.dtype} {array.shape}")


def encode_label(label: np.ndarray) -> bytes:
    """A label map ``uint8 (H, W)`` as palette PNG."""
    _check(label, "a label map")
    image = Image.fromarray(label)
    image.putpalette(_FLAT_PALETTE)
    return _png(image)


def encode_grey(values: np.ndarray) -> bytes:
    """Reliability, ``uint8 (H, W)`` with 0..255 meaning 0..1, as grey PNG."""
    _check(values, "a reliability map")
    return _png(Image.fromarray(values))


def encode_image(image: np.ndarray) -> bytes:
    """An image ``uint8 (H, W, 3)`` as PNG."""
    return _png(Image.fromarray(image))


def decode(data: bytes) -> np.ndarray:
    """A PNG's values as stored: ``uint8 (H, W)`` or ``(H, W, 3)``; palettes stay indices."""
    return np.array(Image.open(io.BytesIO(data)))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()
