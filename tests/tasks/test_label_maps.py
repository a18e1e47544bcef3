"""Label maps and reliability as PNG: values and palette survive."""

import io

import numpy as np
import pytest
from PIL import Image

from tasks.label_maps import decode, encode_grey, encode_image, encode_label, palette

EVERY_VALUE = np.arange(256, dtype=np.uint8).reshape(8, 32)

VOC = {
    0: (0, 0, 0),  # background
    1: (128, 0, 0),  # aeroplane
    2: (0, 128, 0),  # bicycle
    3: (128, 128, 0),  # bird
    7: (128, 128, 128),  # car
    8: (64, 0, 0),  # cat
    15: (192, 128, 128),  # person
    20: (0, 64, 128),  # tv/monitor
    255: (224, 224, 192),  # void
}
"""Colours of PASCAL VOC 2012's own annotations."""


def test_the_palette_is_pascal_voc_s() -> None:
    colours = palette()
    assert len(colours) == 256
    assert {value: colours[value] for value in VOC} == VOC
    assert palette(21) == colours[:21]


def test_every_label_value_comes_back() -> None:
    assert np.array_equal(decode(encode_label(EVERY_VALUE)), EVERY_VALUE)


@pytest.mark.parametrize("value", [0, 1, 200, 254, 255])
def test_a_map_of_one_value_keeps_it(value: int) -> None:
    """Without its full palette Pillow would compact the values."""
    label = np.full((3, 5), value, np.uint8)
    assert np.array_equal(decode(encode_label(label)), label)


def test_label_maps_are_palette_png_with_all_colours() -> None:
    image = Image.open(io.BytesIO(encode_label(np.array([[255, 1]], np.uint8))))
    assert (image.format, image.mode, image.size) == ("PNG", "P", (2, 1))
    assert image.convert("RGB").getpixel((0, 0)) == VOC[255]
    assert image.convert("RGB").getpixel((1, 0)) == VOC[1]
    assert len(image.getpalette() or []) == 3 * 256


def test_reliability_is_grey_png() -> None:
    data = encode_grey(EVERY_VALUE)
    assert Image.open(io.BytesIO(data)).mode == "L"
    assert np.array_equal(decode(data), EVERY_VALUE)


def test_images_come_back() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 4, 3)).astype(np.uint8)
    assert np.array_equal(decode(encode_image(image)), image)


@pytest.mark.parametrize("encode", [encode_label, encode_grey])
@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.zeros((2, 2), np.int64), r"not int64 \(2, 2\)"),
        (np.zeros((2, 2), np.uint16), r"not uint16 \(2, 2\)"),
        (np.zeros((2, 2), bool), r"not bool \(2, 2\)"),
        (np.zeros((2, 2, 1), np.uint8), r"not uint8 \(2, 2, 1\)"),
    ],
)
def test_other_types_and_shapes_are_refused(encode, array: np.ndarray, what: str) -> None:
    with pytest.raises(ValueError, match=rf"must be uint8 \(H, W\), {what}"):
        encode(array)


def test_the_same_map_gives_the_same_bytes() -> None:
    assert encode_label(EVERY_VALUE) == encode_label(EVERY_VALUE.copy())
