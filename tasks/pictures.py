"""Pictures for looking at samples: overlays of label maps and heat maps, reliability, thumbnails.

Images are ``uint8``, label maps ``uint8`` or ``uint16``; what is seen in the report is made here.
"""

import base64
import colorsys
import io

import numpy as np
from PIL import Image

from tasks.label_maps import BACKGROUND, encode_image, ignore_value

RGB = tuple[int, int, int]

THUMBNAIL = 320
"""Longer side of larger images when they are shown, in pixels."""
LEVELS = 64
"""Colours of a heat map or a reliability map when it is shown."""
PIXEL_ART = 128
"""Up to this side an image is shown with its pixels sharp, and stored without loss."""

_FIRST: tuple[RGB, ...] = (
    (229, 72, 77),
    (62, 123, 240),
    (36, 160, 92),
    (240, 160, 30),
    (150, 84, 220),
    (20, 178, 196),
    (164, 106, 58),
    (232, 76, 156),
    (132, 190, 40),
    (104, 116, 140),
)
GREY: RGB = (150, 150, 150)
"""Of the background in legends, and of what is ignored; no class has it."""
_HEAT = np.array([[24, 16, 58], [112, 30, 122], [216, 56, 92], [250, 150, 66], [252, 246, 190]])
_TRUST = np.array([[22, 26, 48], [28, 84, 122], [46, 152, 146], [158, 212, 130], [250, 244, 176]])


def label_colours(count: int, *, background: bool) -> list[RGB]:
    """Colours by label value of ``count`` classes, easily told apart.

    Ten are chosen by hand; from there on hues a golden angle apart, in three shades. The
    background, if there is one, comes first and is grey.
    """
    colours: list[RGB] = [*([GREY] if background else []), *_FIRST[:count]]
    for number in range(len(_FIRST), count):
        hue = (0.13 + 0.381966 * number) % 1
        rgb = colorsys.hls_to_rgb(hue, (0.52, 0.4, 0.64)[number % 3], 0.66)
        colours.append((round(rgb[0] * 255), round(rgb[1] * 255), round(rgb[2] * 255)))
    return colours


def ramp(values: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """``float (H, W)``, 0..1, as colours between evenly spaced stops: ``float (H, W, 3)``."""
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(values, at, stops[:, channel]) for channel in range(3)], axis=-1)


def muted(image: np.ndarray) -> np.ndarray:
    """The image greyed and darkened, as the ground of an overlay: ``float (H, W, 3)``."""
    grey = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return 0.65 * grey[..., None] + 0.2 * image


def label_overlay(image: np.ndarray, label: np.ndarray, colours: list[RGB]) -> np.ndarray:
    """The classes in their colours over the muted image; where nothing is said, a light grey.

    Args:
        image: ``uint8 (H, W, 3)``.
        label: ``uint8 (H, W)``, 255 ignored, or ``uint16 (H, W)``, 65535 ignored.
        colours: by label value, see `label_colours`; the background is left uncovered.

    Returns:
        ``uint8 (H, W, 3)``.
    """
    ignore = ignore_value(label.dtype)
    table = np.full((ignore + 1, 3), GREY, np.float32)
    table[: len(colours)] = colours
    uncovered = (label == BACKGROUND) & (colours[0] == GREY)
    alpha = np.where(uncovered, 0, np.where(label == ignore, 0.55, 0.72))[..., None]
    return _to_uint8(muted(image) * (1 - alpha) + table[label] * alpha)


def label_layer(label: np.ndarray, colours: list[RGB]) -> str:
    """The classes in their colours, to lie over the image; inline, as PNG with transparency.

    Args:
        label: ``uint8 (H, W)`` or ``uint16 (H, W)``.
        colours: by label value, see `label_colours`. The background is clear, ignored pixels are a
            light grey.
    """
    ignore = ignore_value(label.dtype)
    table = np.zeros((ignore + 1, 4), np.uint8)
    table[: len(colours)] = [(*colour, 255) for colour in colours]
    if colours[0] == GREY:
        table[BACKGROUND] = 0
    table[ignore] = (*GREY, 150)
    return _png_uri(Image.fromarray(table[label]))


def heat_layer(heat: np.ndarray) -> str:
    """One attention map ``float (h, w)``, from dark (its minimum) to light (its maximum).

    Inline, as it is, small: who shows it stretches it over the image. The dark is more transparent.
    What is no number is shown as 0.
    """
    heat = np.nan_to_num(heat.astype(np.float32), posinf=0, neginf=0)
    low, high = float(heat.min()), float(heat.max())
    values = (heat - low) / (high - low if high > low else 1)
    return _ramp_uri(values, _HEAT, 0.55)


def reliability_layer(reliability: np.ndarray) -> str:
    """Reliability ``uint8 (H, W)`` as colours, light where it is high; inline and opaque."""
    return _ramp_uri(reliability / 255, _TRUST, 1.0)


def difference(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Where a prediction is wrong, in red over the muted image; ignored pixels are never wrong.

    Args:
        image: ``uint8 (H, W, 3)``.
        truth: ``uint8 (H, W)``, 255 ignored, or ``uint16 (H, W)``, 65535 ignored.
        prediction: as ``truth``, with a label everywhere.

    Returns:
        ``uint8 (H, W, 3)``.
    """
    wrong = ((truth != prediction) & (truth != ignore_value(truth.dtype)))[..., None]
    return _to_uint8(np.where(wrong, np.array([235, 60, 60]), muted(image)))


def is_pixel_art(image: np.ndarray) -> bool:
    """Whether an image is so small that its pixels should stay sharp."""
    return bool(max(image.shape[:2]) <= PIXEL_ART)


def thumbnail(image: np.ndarray, side: int = THUMBNAIL) -> np.ndarray:
    """An image or map with its longer side at most ``side``; maps keep their values."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = Image.Resampling.LANCZOS if image.ndim == 3 else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(image).resize(size, method))


def data_uri(image: np.ndarray) -> str:
    """An image ``uint8 (H, W, 3)`` inline: PNG for pixel art, JPEG for larger ones."""
    if is_pixel_art(image):
        kind, data = "png", encode_image(image)
    else:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="JPEG", quality=84, optimize=True)
        kind, data = "jpeg", buffer.getvalue()
    return _uri(kind, data)


def _ramp_uri(values: np.ndarray, stops: np.ndarray, least: float) -> str:
    """``float (H, W)``, 0..1, in `LEVELS` colours of a ramp, whose opacity begins at ``least``."""
    level = np.linspace(0, 1, LEVELS)
    image = Image.fromarray(np.rint(values * (LEVELS - 1)).astype(np.uint8))
    image.putpalette(_to_uint8(ramp(level[None], stops))[0].flatten().tolist())
    opacity = _to_uint8(255 * (least + (1 - least) * level))
    return _png_uri(image, transparency=opacity.tobytes())


def _png_uri(image: Image.Image, **options: bytes) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=6, **options)
    return _uri("png", buffer.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
