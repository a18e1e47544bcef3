"""What prompts are made from: whose a caption is, and what is refused."""

from pathlib import Path

import pytest

from tasks.params import InputError
from tasks.prompt_sources import prepare
from tests.toys.prompts import captioned, section


def test_a_caption_with_an_unclear_word_is_nobody_s(tmp_path: Path) -> None:
    """A convertible is a car and a sofa."""
    (tmp_path / "captions.txt").write_text("A convertible beside a dog.\nA car beside a dog.\n")
    car, sofa = ({"name": name, "hyponyms": ["convertible"]} for name in ("car", "sofa"))
    asked = section(classes=[car, sofa, "dog"], captions="captions.txt")
    owned = {name: source.owned for name, source in prepare(asked, tmp_path).sources.items()}
    assert owned == {"car": frozenset(), "sofa": frozenset(), "dog": frozenset({"2"})}


def test_captions_that_mention_no_class_are_refused(tmp_path: Path) -> None:
    asked = captioned(tmp_path, classes=["cow"])
    with pytest.raises(
        InputError, match=r"captions\.txt: none of its 6 sentences mentions a class"
    ):
        prepare(asked, tmp_path)


def test_a_pair_with_an_unknown_class_is_refused() -> None:
    with pytest.raises(InputError, match=r"expand_prompts\.pairs: 'yeti' in \[car, yeti\]"):
        prepare(section(pairs=[["car", "yeti"]]))


def test_an_unknown_class_in_every_prompt_is_refused() -> None:
    with pytest.raises(InputError, match=r"expand_prompts\.always: 'yeti' is no class; name some"):
        prepare(section(always=["car", "yeti"]))


def test_places_are_of_classes_and_name_no_other() -> None:
    with pytest.raises(InputError, match=r"expand_prompts\.places: 'yeti' is no class; name some"):
        prepare(section(places={"yeti": "on a {}"}))
    with pytest.raises(InputError, match=r"expand_prompts\.places: 1 of 1 name a class beside"):
        prepare(section(places={"dog": "with a {} in a car"}))


def test_a_template_that_names_a_class_is_refused() -> None:
    templates = ["a {}", "a street seen from a moving automobile, with a {}"]
    with pytest.raises(InputError) as caught:
        prepare(section(templates=templates))
    assert str(caught.value) == (
        "expand_prompts.templates: 1 of 2 name a class beside their {}, where nothing marks it, "
        "such as 'a street seen from a moving automobile, with a {}' has a word for 'car'; say it "
        "in other words, or give templates of your own"
    )
    assert len(prepare(section(templates=templates, classes=["dog"])).templates) == 2
