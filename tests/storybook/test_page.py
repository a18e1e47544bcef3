"""Pages: same seed, same bytes; labels that are exact; captions that say what is seen."""

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from storybook.page import (
    SIZE,
    SUPERSAMPLING,
    Scene,
    Thing,
    article,
    background,
    caption,
    downsample,
    gradient,
    render,
    sample_scene,
    spoken_words,
)
from storybook.things import DRAWINGS
from storybook.vocabulary import PAGE_CLASSES, page_class_of

CAR = Thing(
    kind="sedan", colour="red", word="car", say_colour=True, x=0.5, y=0.86, extent=0.8, mirror=False
)
OAK = Thing(
    kind="oak",
    colour="green",
    word="oak",
    say_colour=False,
    x=0.73,
    y=0.84,
    extent=0.5,
    mirror=False,
)
SCENE = Scene(
    things=(CAR,),
    sky="blue",
    ground="grass",
    horizon=0.5,
    building=False,
    say_sky=False,
    say_ground=False,
    opening="",
)


def page(seed: int, kind: str | None = None) -> Scene:
    return sample_scene(np.random.default_rng(seed), kind)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()[:12]


@pytest.mark.parametrize("seed", range(6))
def test_the_same_seed_gives_the_same_bytes(seed: int) -> None:
    one, two = render(page(seed)), render(page(seed))
    assert [digest(array) for array in one] == [digest(array) for array in two]
    assert digest(one[0]) != digest(render(page(seed + 100))[0])


GOLDEN: dict[int, tuple[str, dict[int, int]]] = {
    0: ("a drawing of a chalet on sand under a blue sky", {0: 2909, 4: 1187}),
    4: ("a green automobile, a mansion and a canoe", {0: 3538, 1: 97, 2: 133, 4: 328}),
    5: ("a drawing of a green palm and a green canoe", {0: 3720, 2: 155, 3: 221}),
    6: ("a drawing of a green palm on sand", {0: 3302, 3: 794}),
    8: ("a blue penguin", {0: 2528, 5: 1568}),
}
"""Seed -> caption, and pixels of each label value. The base model has learnt these pages."""


@pytest.mark.parametrize("seed", GOLDEN)
def test_pages_are_those_that_the_base_model_has_learnt(seed: int) -> None:
    scene = page(seed)
    image, label = render(scene)
    assert image.shape == (SIZE, SIZE, 3) and image.dtype == np.uint8
    assert label.shape == (SIZE, SIZE) and label.dtype == np.uint8
    values, counts = np.unique(label, return_counts=True)
    assert (caption(scene), dict(zip(values.tolist(), counts.tolist(), strict=True))) == GOLDEN[
        seed
    ]


@pytest.mark.parametrize("seed", range(20))
def test_labels_are_exact(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is averaged down, the image differs from its background just where labels are."""

    def as_drawn(image: Image.Image, label: Image.Image) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(image), np.asarray(label)

    monkeypatch.setattr("storybook.page.downsample", as_drawn)
    scene = page(seed)
    image, label = render(scene)
    bare = np.asarray(background(scene, SIZE * SUPERSAMPLING))
    assert np.array_equal((image != bare).any(-1), label > 0)


@pytest.mark.parametrize("seed", range(20))
def test_label_values_are_the_things_classes(seed: int) -> None:
    scene = page(seed)
    shown = set(np.unique(render(scene)[1]).tolist()) - {0}
    assert shown == {page_class_of(thing.kind) for thing in scene.things}


@pytest.mark.parametrize("kind", DRAWINGS)
def test_a_kind_can_be_asked_for(kind: str) -> None:
    scene = page(3, kind)
    assert scene.things[0].kind == kind
    assert (render(scene)[1] == page_class_of(kind)).mean() > 0.04


def test_things_of_a_page_are_of_different_classes() -> None:
    for seed in range(200):
        for kind in (None, "oak"):
            classes = [page_class_of(thing.kind) for thing in page(seed, kind).things]
            assert len(classes) == len(set(classes))


def test_most_pages_show_one_thing_and_classes_come_equally() -> None:
    scenes = [page(seed) for seed in range(1000)]
    counts = Counter(len(scene.things) for scene in scenes)
    assert counts[1] == pytest.approx(640, abs=50)
    assert counts[2] == pytest.approx(280, abs=50)
    assert counts[3] == pytest.approx(80, abs=30)
    classes = Counter(page_class_of(scene.things[0].kind) for scene in scenes)
    assert all(classes[value] == pytest.approx(125, abs=35) for value in range(1, 9))


def test_what_stands_in_front_hides_what_is_behind() -> None:
    behind = replace(OAK, x=0.5, y=0.86)
    _, alone = render(replace(SCENE, things=(CAR,)))
    _, both = render(replace(SCENE, things=(behind, CAR)))
    assert np.array_equal(both == 1, alone == 1)
    assert (both == 3).any()


def test_a_label_is_the_value_at_the_middle_of_a_pixel() -> None:
    large = np.zeros((8, 8), np.uint8)
    large[2:, 2:] = 5
    image, label = downsample(Image.new("RGB", (8, 8), (10, 20, 30)), Image.fromarray(large))
    assert image.tolist() == [[[10, 20, 30]] * 2] * 2
    assert label.tolist() == [[5, 5], [5, 5]]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "a red car"),
        ({"opening": "a picture of "}, "a picture of a red car"),
        ({"say_ground": True}, "a red car on grass"),
        ({"say_ground": True, "ground": "road"}, "a red car on a road"),
        ({"say_sky": True, "sky": "pink"}, "a red car under a pink sky"),
        ({"say_ground": True, "say_sky": True}, "a red car on grass under a blue sky"),
        ({"building": True}, "a red car by a building"),
        ({"things": (CAR, OAK)}, "a red car and an oak"),
        ({"things": (CAR, OAK), "building": True}, "a red car and an oak"),
        (
            {"things": (CAR, OAK, replace(OAK, kind="owl", word="bird"))},
            "a red car, an oak and a bird",
        ),
    ],
)
def test_captions(changes: dict[str, object], expected: str) -> None:
    assert caption(replace(SCENE, **changes)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "expected"), [("owl", "an owl"), ("red owl", "a red owl"), ("auto", "an auto")]
)
def test_articles(words: str, expected: str) -> None:
    assert article(words) == expected


def test_a_gradient_runs_from_top_to_bottom() -> None:
    assert gradient((0, 100, 200), (100, 100, 0), 3, 2).tolist() == [
        [[0, 100, 200]] * 2,
        [[50, 100, 100]] * 2,
        [[100, 100, 0]] * 2,
    ]


def test_paper_has_no_horizon() -> None:
    paper = np.asarray(background(replace(SCENE, ground="paper"), 64))
    grass = np.asarray(background(SCENE, 64))
    steps = np.abs(np.diff(paper[:, 0].astype(int), axis=0)).max(-1)
    assert steps.max() <= 1
    assert np.abs(np.diff(grass[:, 0].astype(int), axis=0)).max(-1).argmax() == 31


def test_dark_pages_have_dark_grounds() -> None:
    day = np.asarray(background(SCENE, 64)).mean()
    assert np.asarray(background(replace(SCENE, sky="dark"), 64)).mean() < 0.6 * day


@pytest.mark.parametrize(
    ("name", "typical"), [("bird", "duck"), ("car", "sedan"), ("automobile", "sedan")]
)
def test_a_class_name_mostly_means_its_typical_kind(name: str, typical: str) -> None:
    thing = PAGE_CLASSES[page_class_of(name) - 1]
    meant = Counter({kind: spoken_words(thing, kind).count(name) for kind in thing.hyponyms})
    assert meant[typical] / meant.total() == 0.75
    others = {meant[kind] for kind in thing.hyponyms if kind != typical}
    assert len(others) == 1 and others != {0}
