"""Captions fit the images one by one, and what does not fit is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.params import AdaptLora, InputError, Params
from tasks.reference_captions import (
    caption_images,
    length_problems,
    list_caption,
    prior_prompts,
)
from tasks.reference_images import ReferenceImage

WORDS = {"car": "car", "tree": "tree", "sky": "sky", "pole": "lamp post"}
PLACES = {"sky": "under a dark {}"}
NAMES = ("a.png", "sub/b.png", "sub/c.jpg")

Make = Callable[..., AdaptLora]


@pytest.fixture
def section(make_params: Callable[..., Params]) -> Make:
    def make(**changes: Any) -> AdaptLora:
        values = {"images": "own", "template": "a photo of {}", "captions": "c.json"} | changes
        return make_params({f"adapt_lora.{key}": value for key, value in values.items()}).adapt_lora

    return make


@pytest.fixture
def images(tmp_path: Path) -> list[ReferenceImage]:
    """Three images, which nobody opens."""
    for name in NAMES:
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return [ReferenceImage(tmp_path / "own" / name, name) for name in NAMES]


def captions(section: AdaptLora, images: list[ReferenceImage], root: Path) -> dict[str, str]:
    return caption_images(section, images, WORDS, PLACES, root)


def message(section: AdaptLora, images: list[ReferenceImage], root: Path) -> str:
    with pytest.raises(InputError) as caught:
        captions(section, images, root)
    return str(caught.value)


def write(root: Path, content: Any) -> None:
    (root / "c.json").write_text(json.dumps(content))


def test_without_captions_all_have_the_template(
    section: Make, images: list[ReferenceImage], tmp_path: Path
) -> None:
    plain = section(captions="none", template="a street", max_images=2)
    assert captions(plain, images, tmp_path) == {"a.png": "a street", "sub/b.png": "a street"}


def test_sidecars_lie_beside_their_image(
    section: Make, images: list[ReferenceImage], tmp_path: Path
) -> None:
    for name in ("a", "sub/b", "sub/c"):
        (tmp_path / f"own/{name}.txt").write_text(f"the picture\n {name}\n")
    asked = section(captions="sidecar", template="x")
    expected = {name: f"the picture {name.partition('.')[0]}" for name in NAMES}
    assert captions(asked, images, tmp_path) == expected


def test_sidecars_that_are_missing_empty_or_alone_are_named(
    section: Make, images: list[ReferenceImage], tmp_path: Path
) -> None:
    (tmp_path / "own/a.txt").write_text("one")
    (tmp_path / "own/sub/b.txt").write_text(" \n")
    (tmp_path / "own/sub/lost.txt").write_text("nobody's")
    (tmp_path / "own/sub/.hidden.txt").write_text("ours")
    lines = message(section(captions="sidecar", template="x"), images, tmp_path).splitlines()
    assert lines[0].startswith(
        "adapt_lora.captions: 2 of 3 images have no caption: sub/b.png, sub/c.jpg; put <stem>.txt"
    )
    assert lines[1].startswith("adapt_lora.captions: 1 text files have no image beside them: ")
    assert str(tmp_path / "own/sub/lost.txt") in lines[1] and len(lines) == 2


def test_sidecars_beyond_max_images_are_nobodys_fault(
    section: Make, images: list[ReferenceImage], tmp_path: Path
) -> None:
    for name in ("a", "sub/b", "sub/c"):
        (tmp_path / f"own/{name}.txt").write_text(name)
    asked = section(captions="sidecar", template="x", max_images=2)
    assert list(captions(asked, images, tmp_path)) == ["a.png", "sub/b.png"]


def test_sidecars_that_are_no_text_are_named(
    section: Make, images: list[ReferenceImage], tmp_path: Path
) -> None:
    (tmp_path / "own/a.txt").write_bytes(b"\xff\xfe\xfa")
    text = message(section(captions="sidecar", template="x"), images, tmp_path)
    assert f"cannot be read as UTF-8 text: {tmp_path}/own/a.txt (" in text


def test_a_json_file_names_images_by_file_name_or_path(
    section: Make, images: list[ReferenceImage], tmp_path: Path
) -> None:
    write(tmp_path, {"a.png": ["car", "sky"], "sub/b.png": " a  sentence ", "c.jpg": ["pole"]})
    assert captions(section(), images, tmp_path) == {
        "a.png": "a photo of a car under a dark sky",
        "sub/b.png": "a sentence",
        "sub/c.jpg": "a photo of a lamp post",
    }


def test_lists_read_like_prompts() -> None:
    assert list_caption("a {}", ["car", "tree", "sky"], WORDS, {}) == "a car, a tree and sky"
    assert list_caption("a street with a {} at dusk", ["pole"], WORDS, {}) == (
        "a street with a lamp post at dusk"
    )
    assert list_caption("a {}", [], WORDS, {}) == ""


def test_lists_have_the_places_of_prompts() -> None:
    text = list_caption("a {} at dusk", ["sky", "car", "tree"], WORDS, PLACES)
    assert text == "a car and a tree under a dark sky at dusk"


def test_lists_come_in_an_order_of_their_own(
    section: Make, images: list[ReferenceImage], tmp_path: Path
) -> None:
    """Prompts name classes in any order; an image's caption is the same every time."""
    write(tmp_path, {name: ["car", "tree", "pole"] for name in NAMES})
    found = captions(section(template="a {}"), images, tmp_path)
    assert found == captions(section(template="a {}"), images, tmp_path)
    assert len(set(found.values())) > 1
    for text in found.values():
        assert sorted(text.replace(",", " and").split(" and ")) == [
            "a car",
            "a lamp post",
            "a tree",
        ]


def test_captions_and_images_that_do_not_match_are_named_together(
    section: Make, images: list[ReferenceImage], tmp_path: Path
) -> None:
    write(tmp_path, {"a.png": ["cat", "car", "Tree"], "lost.png": "a sentence"})
    file = tmp_path / "c.json"
    lines = message(section(), images, tmp_path).splitlines()
    assert lines == [
        f"adapt_lora.captions: {file}: 1 captions have no image in {tmp_path}/own: lost.png; name "
        "each image by its file name or its path below that folder",
        f"adapt_lora.captions: {file}: 2 of 3 images have no caption: sub/b.png, sub/c.jpg; add "
        "them, or lower adapt_lora.max_images",
        f"adapt_lora.captions: {file}: lists classes that are not in expand_prompts.classes: "
        "'cat' (a.png), 'Tree' (a.png); there are car, tree, sky, pole",
    ]


def test_captions_of_images_that_are_not_used_are_fine(
    section: Make, images: list[ReferenceImage], tmp_path: Path
) -> None:
    """Those beyond ``max_images``, and those that the glob leaves out."""
    write(tmp_path, {"a.png": "one", "b.png": "two", "sub/c.jpg": "three"})
    assert captions(section(max_images=2), images, tmp_path) == {"a.png": "one", "sub/b.png": "two"}
    asked = section(images="own/**/*.png")
    assert captions(asked, images[:2], tmp_path) == {"a.png": "one", "sub/b.png": "two"}


def test_a_file_name_that_two_images_have_is_no_name(
    section: Make, images: list[ReferenceImage], tmp_path: Path
) -> None:
    twin = ReferenceImage(tmp_path / "own/sub/a.png", "sub/a.png")
    write(tmp_path, {"a.png": "one", "sub/b.png": "two", "sub/c.jpg": "three"})
    text = message(section(), [*images, twin], tmp_path)
    assert "several images have one file name: sub/a.png; name each by its path below" in text
    write(tmp_path, {"a.png": "1", "sub/a.png": "2", "sub/b.png": "3", "c.jpg": "4"})
    found = captions(section(), [*images, twin], tmp_path)
    assert (found["a.png"], found["sub/a.png"]) == ("1", "2")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[1]", "must be an object, {file name: sentence or list of classes}"),
        ("{", "cannot be read as JSON: "),
        ('{"a.png": 3}', "'a.png': must be a sentence or a list of class names, not 3"),
        ('{"a.png": ""}', "'a.png': must be a sentence or a list of class names, not ''"),
        ('{"a.png": ["car", 3]}', "must be a sentence or a list of class names, not ['car', 3]"),
    ],
)
def test_a_json_file_of_another_form_is_refused(
    section: Make, images: list[ReferenceImage], tmp_path: Path, content: str, expected: str
) -> None:
    (tmp_path / "c.json").write_text(content)
    text = message(section(), images, tmp_path)
    assert text.startswith(f"adapt_lora.captions: {tmp_path / 'c.json'}: ") and expected in text


def test_a_json_file_that_is_not_there_is_named(
    section: Make, images: list[ReferenceImage], tmp_path: Path
) -> None:
    assert message(section(), images, tmp_path) == (
        f"adapt_lora.captions: {tmp_path / 'c.json'}: no such file; give none, sidecar or a JSON "
        "file of captions"
    )


def test_lists_need_a_place_in_the_template(
    section: Make, images: list[ReferenceImage], tmp_path: Path
) -> None:
    write(tmp_path, {"a.png": ["car"], "b.png": "two", "c.jpg": "three"})
    assert message(section(template="a street"), images, tmp_path) == (
        f"adapt_lora.template: {tmp_path / 'c.json'} lists classes, and 'a street' has no {{}} for "
        "them; add one"
    )


def test_prior_prompts_go_round_the_classes(section: Make) -> None:
    asked = section(prior_share=0.5, prior_images=4, prior_template="a photo of a {}", batch_size=2)
    assert prior_prompts(asked, ["car", "oak", "sky"]) == [
        "a photo of a car",
        "a photo of an oak",
        "a photo of sky",
        "a photo of a car",
    ]
    assert prior_prompts(section(), ["car"]) == []


def test_texts_that_a_text_encoder_cuts_off_are_named() -> None:
    class Words:
        """A token for each word, and two around them."""

        input_ids: list[int]

        def __call__(self, text: str, **_: Any) -> "Words":
            self.input_ids = [0, *range(len(text.split())), 0]
            return self

    texts = ["one two three", "one", "one two three four", "one two three"]
    assert length_problems("key", texts, [Words()], 6) == []
    (problem,) = length_problems("key", texts, [Words()], 4)
    assert problem == (
        "key: the text encoder reads 4 tokens, start and end included; shorten "
        '"one two three" (5 tokens), "one two three four" (6 tokens)'
    )
