"""Every drawing: its label is exact, and large enough to be learnt."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from storybook.things import DRAWINGS
from storybook.things.pen import Pen, shade
from storybook.vocabulary import COLOURS, PAGE_CLASSES, RGB, TYPICAL_COLOURS, page_class_of

SIDE = 300
NOWHERE: RGB = (255, 0, 255)
"""A colour that nothing is drawn in."""


def draw(
    kind: str, mirror: bool = False, colour: RGB = (200, 60, 50)
) -> tuple[np.ndarray, np.ndarray]:
    """One thing before ``NOWHERE``: image ``uint8 (H, W, 3)`` and label ``uint8 (H, W)``."""
    image, label = Image.new("RGB", (SIDE, SIDE), NOWHERE), Image.new("L", (SIDE, SIDE))
    pen = Pen(
        ImageDraw.Draw(image), ImageDraw.Draw(label), 7, (SIDE / 2, SIDE * 0.8), SIDE * 0.35, mirror
    )
    DRAWINGS[kind](pen, colour)
    return np.asarray(image), np.asarray(label)


def test_every_hyponym_can_be_drawn_and_has_its_colours() -> None:
    kinds = [kind for thing in PAGE_CLASSES for kind in thing.hyponyms]
    assert list(DRAWINGS) == kinds
    assert list(TYPICAL_COLOURS) == kinds
    assert {colour for colours in TYPICAL_COLOURS.values() for colour in colours} <= set(COLOURS)


@pytest.mark.parametrize("kind", DRAWINGS)
def test_the_label_is_exactly_what_was_drawn(kind: str) -> None:
    image, label = draw(kind)
    assert np.unique(label).tolist() == [0, 7]
    assert np.array_equal(label == 7, (image != NOWHERE).any(-1))


@pytest.mark.parametrize("kind", DRAWINGS)
def test_a_thing_fills_a_fair_part_of_its_box(kind: str) -> None:
    _, label = draw(kind)
    rows, columns = np.flatnonzero(label.any(1)), np.flatnonzero(label.any(0))
    box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert (label > 0).sum() / box > 0.25


@pytest.mark.parametrize("kind", DRAWINGS)
def test_mirrored_things_look_the_other_way(kind: str) -> None:
    _, label = draw(kind)
    _, mirrored = draw(kind, mirror=True)
    flipped = mirrored[:, ::-1]
    both, either = (label > 0) & (flipped > 0), (label > 0) | (flipped > 0)
    assert both.sum() / either.sum() > 0.94


@pytest.mark.parametrize("kind", DRAWINGS)
def test_the_main_colour_shows(kind: str) -> None:
    red, _ = draw(kind, colour=COLOURS["red"])
    blue, label = draw(kind, colour=COLOURS["blue"])
    changed = (red != blue).any(-1)
    assert changed[label > 0].mean() > 0.2
    assert not changed[label == 0].any()


def test_hyponyms_of_a_class_have_outlines_of_their_own() -> None:
    for thing in PAGE_CLASSES:
        outlines = [draw(kind)[1] > 0 for kind in thing.hyponyms]
        for number, one in enumerate(outlines):
            for other in outlines[:number]:
                assert (one & other).sum() / (one | other).sum() < 0.85


def test_shades() -> None:
    assert shade((200, 100, 0), 1) == (200, 100, 0)
    assert shade((200, 100, 0), 0.5) == (100, 50, 0)
    assert shade((200, 100, 0), 1.5) == (227, 177, 127)
    assert shade((200, 100, 0), 2) == (255, 255, 255)


def test_every_word_names_its_class() -> None:
    assert page_class_of("car") == page_class_of("automobile") == page_class_of("sedan") == 1
    assert page_class_of("poppy") == len(PAGE_CLASSES) == 8
    with pytest.raises(KeyError, match="names no storybook class"):
        page_class_of("zeppelin")


def test_no_word_names_two_classes() -> None:
    words = [
        word for thing in PAGE_CLASSES for word in (thing.name, *thing.synonyms, *thing.hyponyms)
    ]
    assert len(words) == len(set(words))
