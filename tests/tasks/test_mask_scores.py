import numpy as np
import pytest

from tasks.mask_scores import image_scores, luma, shape_scores


def test_black_and_flat_images_are_told() -> None:
    grey = np.zeros((10, 10), np.uint8)
    assert image_scores(grey) == {"dark": 1.0, "contrast": 0.0}
    grey[:5] = 200
    scores = image_scores(grey)
    assert scores["dark"] == 0.5
    assert scores["contrast"] == pytest.approx(100.0)
    assert image_scores(np.full((4, 4), 9, np.uint8)) == {"dark": 0.0, "contrast": 0.0}


def test_contrast_is_the_standard_deviation() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (33, 20)).astype(np.uint8)
    assert image_scores(grey)["contrast"] == pytest.approx(grey.astype(float).std())
    assert image_scores(grey)["dark"] == pytest.approx((grey <= 8).mean())


def test_luma_weighs_green_most() -> None:
    image = np.zeros((1, 3, 3), np.uint8)
    image[0, [0, 1, 2], [0, 1, 2]] = 255
    assert luma(image).tolist() == [[76, 150, 29]]


def test_shape_of_two_pieces_one_cut_by_the_border() -> None:
    inside = np.zeros((10, 10), bool)
    inside[0:3, 0:3] = True  # all but its middle is outline; 5 of 8 pixels lie on the border
    inside[7, 7] = True
    scores = shape_scores(inside)
    assert scores["components"] == 2
    assert scores["largest"] == pytest.approx(9 / 10)
    assert scores["border"] == pytest.approx(5 / 9)


def test_corners_connect() -> None:
    assert shape_scores(np.eye(5, dtype=bool))["components"] == 1


def test_a_class_that_is_everywhere_or_nowhere() -> None:
    assert shape_scores(np.ones((6, 6), bool)) == {"components": 1, "largest": 1.0, "border": 1.0}
    nothing = {"components": 0, "largest": 0.0, "border": 0.0}
    assert shape_scores(np.zeros((6, 6), bool)) == nothing


def test_an_object_in_the_middle_has_no_border() -> None:
    inside = np.zeros((10, 10), bool)
    inside[2:8, 2:8] = True
    assert shape_scores(inside)["border"] == 0.0
