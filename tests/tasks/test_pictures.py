"""Colours, overlays and inline pictures."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tasks.label_maps import decode
from tasks.pictures import (
    data_uri,
    difference,
    heat_layer,
    is_pixel_art,
    label_colours,
    label_layer,
    label_overlay,
    muted,
    ramp,
    reliability_layer,
    thumbnail,
)

WHITE = np.full((2, 3, 3), 255, np.uint8)


@pytest.mark.parametrize("count", [1, 8, 30, 254])
def test_every_class_has_a_colour_of_its_own(count: int) -> None:
    colours = label_colours(count, background=True)
    assert len(colours) == len(set(colours)) == count + 1
    assert colours[0] == (150, 150, 150)
    assert label_colours(count, background=False) == colours[1:]
    assert all(0 <= channel <= 255 for colour in colours for channel in colour)


def test_more_classes_keep_the_colours_of_the_first() -> None:
    assert label_colours(30, background=True)[:9] == label_colours(8, background=True)


def test_a_ramp_goes_through_its_stops() -> None:
    stops = np.array([[0, 0, 0], [100, 50, 0], [200, 250, 40]])
    values = np.array([[0.0, 0.25, 0.5, 1.0]])
    assert ramp(values, stops).tolist() == [[[0, 0, 0], [50, 25, 0], [100, 50, 0], [200, 250, 40]]]


def test_labels_lie_over_the_muted_image() -> None:
    label = np.array([[0, 1, 255], [0, 1, 255]], np.uint8)
    seen = label_overlay(WHITE, label, [(150, 150, 150), (200, 0, 100)])
    ground = 0.85 * 255
    assert np.array_equal(seen[0, 0], np.rint(muted(WHITE)[0, 0]).astype(np.uint8))
    assert seen[0, 1].tolist() == [round(ground * 0.28 + c * 0.72) for c in (200, 0, 100)]
    assert seen[0, 2].tolist() == [round(ground * 0.45 + 150 * 0.55)] * 3


def test_without_background_the_first_class_has_its_colour() -> None:
    label = np.array([[0, 1, 255]] * 2, np.uint8)
    seen = label_overlay(WHITE, label, [(0, 90, 20), (200, 0, 100)])
    ground = 0.85 * 255
    assert seen[0, 0].tolist() == [round(ground * 0.28 + c * 0.72) for c in (0, 90, 20)]
    assert seen[0, 2].tolist() == [round(ground * 0.45 + 150 * 0.55)] * 3


def opened(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_layer_of_labels_is_clear_where_the_background_is(dtype: type[np.generic]) -> None:
    label = np.array([[0, 1, np.iinfo(dtype).max]], dtype)
    seen = opened(label_layer(label, [(150, 150, 150), (200, 0, 100)]))
    assert seen.tolist() == [[[0, 0, 0, 0], [200, 0, 100, 255], [150, 150, 150, 150]]]


def test_without_background_a_layer_has_the_first_class() -> None:
    seen = opened(label_layer(np.array([[0, 1]], np.uint8), [(0, 90, 20), (200, 0, 100)]))
    assert seen.tolist() == [[[0, 90, 20, 255], [200, 0, 100, 255]]]


def test_heat_runs_from_dark_to_light() -> None:
    heat = np.zeros((4, 4), np.float16)
    heat[:, 2:] = 0.01
    seen = opened(heat_layer(heat))
    assert seen.shape == (4, 4, 4)
    assert seen[0, 0].tolist() == [24, 16, 58, 140]
    assert seen[0, 3].tolist() == [252, 246, 190, 255]


def test_a_constant_heat_map_is_dark_everywhere() -> None:
    seen = opened(heat_layer(np.full((2, 2), 0.3, np.float16)))
    assert {tuple(pixel) for pixel in seen.reshape(-1, 4).tolist()} == {(24, 16, 58, 140)}


def test_attention_that_is_no_number_is_shown_as_none() -> None:
    heat = np.array([[np.nan, 1.0], [np.inf, 0.5]], np.float16)
    seen = opened(heat_layer(heat))
    assert seen[0, 0].tolist() == seen[1, 0].tolist() == [24, 16, 58, 140]
    assert seen[0, 1].tolist() == [252, 246, 190, 255]


def test_reliability_is_light_where_it_is_high() -> None:
    seen = opened(reliability_layer(np.array([[0, 255]], np.uint8)))
    assert seen.tolist() == [[[22, 26, 48, 255], [250, 244, 176, 255]]]


@pytest.mark.parametrize(("dtype", "one", "ignored"), [("u1", 1, 255), ("u2", 255, 65535)])
def test_errors_are_red_but_not_where_nothing_is_said(dtype: str, one: int, ignored: int) -> None:
    truth = np.array([[0, one, ignored], [0, one, ignored]], dtype)
    prediction = np.array([[0, 0, 0], [one, one, one]], dtype)
    red = (difference(WHITE, truth, prediction) == [235, 60, 60]).all(-1)
    assert red.tolist() == [[False, True, False], [True, False, False]]


def test_thumbnails_keep_proportions_and_label_values() -> None:
    label = np.zeros((100, 400), np.uint8)
    label[:, 200:] = 7
    small = thumbnail(label, 40)
    assert small.shape == (10, 40)
    assert np.unique(small).tolist() == [0, 7]
    assert thumbnail(np.zeros((100, 400, 3), np.uint8), 40).shape == (10, 40, 3)
    assert thumbnail(label, 400) is label


@pytest.mark.parametrize(("side", "kind"), [(64, "png"), (224, "jpeg")])
def test_pictures_are_inline(side: int, kind: str) -> None:
    image = np.zeros((side, side, 3), np.uint8)
    image[: side // 2] = 200
    head, _, data = data_uri(image).partition(",")
    assert head == f"data:image/{kind};base64"
    assert is_pixel_art(image) is (kind == "png")
    content = base64.b64decode(data)
    assert Image.open(io.BytesIO(content)).size == (side, side)
    if kind == "png":
        assert np.array_equal(decode(content), image)
