"""Label maps and reliability as PNG: values and palette survive."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from tasks.label_maps import (
    decode,
    encode_grey,
    encode_image,
    encode_label,
    ignore_value,
    label_dtype,
    palette,
)

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


def test_the_colours_of_many_classes_differ() -> None:
    assert len(set(palette(920))) == 920


def test_every_label_value_comes_back() -> None:
    back = decode(encode_label(EVERY_VALUE))
    assert back.dtype == np.uint8
    assert np.array_equal(back, EVERY_VALUE)


def test_every_label_value_of_16_bits_comes_back() -> None:
    label = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    back = decode(encode_label(label))
    assert back.dtype == np.uint16
    assert np.array_equal(back, label)


@pytest.mark.parametrize(
    ("labels", "dtype", "ignore"),
    [
        (2, np.uint8, 255),
        (255, np.uint8, 255),
        (256, np.uint16, 65535),
        (920, np.uint16, 65535),
        (65535, np.uint16, 65535),
    ],
)
def test_labels_and_ignore_survive_in_the_type_they_need(
    labels: int, dtype: type[np.generic], ignore: int
) -> None:
    assert label_dtype(labels) == dtype
    assert ignore_value(label_dtype(labels)) == ignore
    label = np.array([[0, 1, labels - 1], [255, ignore, 0]], label_dtype(labels))
    back = decode(encode_label(label))
    assert back.dtype == dtype
    assert back.tolist() == [[0, 1, labels - 1], [255, ignore, 0]]


def test_types_that_label_maps_do_not_have() -> None:
    with pytest.raises(ValueError, match="65536 labels do not fit a label map of 16 bits"):
        label_dtype(65536)
    for dtype in (np.int64, bool, np.float32):
        with pytest.raises(ValueError, match="a label map is uint8 or uint16, not"):
            ignore_value(dtype)


def test_values_are_not_compacted() -> None:
    label = np.array([[0, 7, 255], [7, 7, 0]], np.uint8)
    assert decode(encode_label(label)).tolist() == [[0, 7, 255], [7, 7, 0]]


def test_small_values_stay_16_bit() -> None:
    """The type tells what is ignored, so it must not depend on the values."""
    back = decode(encode_label(np.array([[0, 7, 255]], np.uint16)))
    assert (back.dtype, back.tolist()) == (np.uint16, [[0, 7, 255]])


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


def test_label_maps_of_16_bits_are_grey_png() -> None:
    image = Image.open(io.BytesIO(encode_label(np.array([[65535, 300]], np.uint16))))
    assert (image.format, image.mode, image.size) == ("PNG", "I;16", (2, 1))


def test_reliability_is_grey_png() -> None:
    data = encode_grey(EVERY_VALUE)
    assert Image.open(io.BytesIO(data)).mode == "L"
    assert np.array_equal(decode(data), EVERY_VALUE)


def test_images_come_back() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 4, 3)).astype(np.uint8)
    assert np.array_equal(decode(encode_image(image)), image)


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2), np.int64), np.zeros((2, 2), bool), np.zeros((2, 2, 1), np.uint8)]
)
def test_other_types_and_shapes_are_refused(array: np.ndarray) -> None:
    found = re.escape(f"not {array.dtype} {array.shape}")
    with pytest.raises(ValueError, match=rf"must be uint8 or uint16 \(H, W\), {found}"):
        encode_label(array)
    with pytest.raises(ValueError, match=rf"must be uint8 \(H, W\), {found}"):
        encode_grey(array)


def test_reliability_has_8_bits() -> None:
    with pytest.raises(ValueError, match=r"must be uint8 \(H, W\), not uint16 \(2, 2\)"):
        encode_grey(np.zeros((2, 2), np.uint16))


def test_the_same_map_gives_the_same_bytes() -> None:
    assert encode_label(EVERY_VALUE) == encode_label(EVERY_VALUE.copy())
