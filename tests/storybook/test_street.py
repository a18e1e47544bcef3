import numpy as np

from storybook import street
from storybook.vocabulary import STREET_CLASSES


def test_same_seed_same_street() -> None:
    first = street.render(street.sample_street(np.random.default_rng(3)))
    again = street.render(street.sample_street(np.random.default_rng(3)))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_every_pixel_belongs_to_a_class_and_all_classes_occur() -> None:
    labels = [
        street.render(street.sample_street(np.random.default_rng((1, i))))[1] for i in range(40)
    ]
    seen = np.bincount(np.concatenate([label.ravel() for label in labels]), minlength=6)
    assert len(seen) == len(STREET_CLASSES) == 6
    assert (seen / seen.sum() > 0.01).all()


def test_an_empty_street_is_sky_above_grass_and_road() -> None:
    empty = street.Street(0, (0.5, 0.5), False, 0, False, (), ())
    image, label = street.render(empty)
    assert image.shape == (64, 64, 3) and image.dtype == label.dtype == np.uint8
    names = [STREET_CLASSES[label[y, x]] for y, x in ((5, 5), (60, 32), (36, 2))]
    assert names == ["sky", "road", "grass"]
    assert street.caption(label) == "a road, sky and grass"


def test_a_caption_names_what_is_there_as_prompts_do() -> None:
    """All that covers more than a hundredth of the image, in label order."""
    label = np.arange(64 * 64).reshape(64, 64) % 6
    assert street.caption(label) == "a road, sky, a building, a tree, a car and grass"
    label[label == 4] = 0
    label[0, :40] = 4  # 40 of 4,096 pixels are less than a hundredth, 41 are more
    assert "car" not in street.caption(label)
    label[0, 40] = 4
    assert street.caption(label) == "a road, sky, a building, a tree, a car and grass"


def test_a_car_stands_where_it_is_put() -> None:
    scene = street.Street(0, (0.5, 0.5), False, 0, False, (), ((0.5, 0.5),))
    _, label = street.render(scene)
    rows, columns = np.nonzero(label == STREET_CLASSES.index("car"))
    # middle 0.5 + 0.5 * (0.06 + 0.44 * 0.5) = 0.64 of the width
    assert abs(columns.mean() - 0.64 * 64) < 1
    assert label[rows.max(), 41] in (STREET_CLASSES.index("car"), STREET_CLASSES.index("road"))
