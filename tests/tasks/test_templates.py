"""Templates agree with the word that is put into them, and spans mark it."""

import pytest

from tasks.english import normalise
from tasks.templates import DEFAULT, fill, parse, placed


@pytest.mark.parametrize(
    ("template", "word", "text", "phrase"),
    [
        ("a {}", "car", "a car", "car"),
        ("a {}", "oak", "an oak", "oak"),
        ("A {} on grass", "owl", "An owl on grass", "owl"),
        ("a red {}", "auto", "a red auto", "auto"),
        ("an old {}", "car", "an old car", "car"),
        ("an {} at sea", "boat", "a boat at sea", "boat"),
        ("{}", "oak", "oak", "oak"),
        ("two of the {}", "oak", "two of the oak", "oak"),
        ("A {}", "grass", "Grass", "Grass"),
        ("a photo of a {}", "grass", "a photo of grass", "grass"),
        ("a photo of a green {}", "grass", "a photo of green grass", "grass"),
        ("a photo of a {}", "sky", "a photo of sky", "sky"),
        ("a photo of a red {}", "sky", "a photo of a red sky", "sky"),
        ("a photo of one {}", "grass", "a photo of grass", "grass"),
        ("a photo of one {}", "wolf", "a photo of one wolf", "wolf"),
        ("a photo of many {}.", "wolf", "a photo of many wolves.", "wolves"),
        ("two small {} in a row", "bus", "two small buses in a row", "buses"),
        ("several {}", "grass", "grass", "grass"),
        ("a pair of {}", "dog", "a pair of dogs", "dogs"),
        (
            "A photo of a group of {} at sea",
            "person",
            "A photo of a group of people at sea",
            "people",
        ),
        ("a group of {}", "grass", "grass", "grass"),
        ("Lots of small {}", "dog", "Lots of small dogs", "dogs"),
        ("a dozen {}", "ox", "a dozen oxen", "oxen"),
        ("a few white {}", "dog", "a few white dogs", "dogs"),
        ("11 {}", "dog", "11 dogs", "dogs"),
        ("21 brown {}", "dog", "21 brown dogs", "dogs"),
        ("1 {}", "dog", "1 dog", "dog"),
        ("twelve {}", "dog", "twelve dogs", "dogs"),
        ("these {}", "dog", "these dogs", "dogs"),
        ("No {} here", "dog", "No dogs here", "dogs"),
        ("a row of houses and a {}", "owl", "a row of houses and an owl", "owl"),
        ("a snow-white {}", "grass", "snow-white grass", "grass"),
        ("a photo of several {}", "sunglasses", "a photo of sunglasses", "sunglasses"),
    ],
)
def test_the_sentence_agrees_with_the_word(
    template: str, word: str, text: str, phrase: str
) -> None:
    filled, [(start, end)] = fill(parse(template), [word])
    assert filled == text
    assert filled[start:end] == phrase


def test_further_words_follow_with_their_own_articles() -> None:
    text, spans = fill(parse("a photo of a {} at dusk"), ["oak", "hour", "sky", "car"])
    assert text == "a photo of an oak, an hour, sky and a car at dusk"
    assert [text[start:end] for start, end in spans] == ["oak", "hour", "sky", "car"]


PLACES = {"sky": parse("under a dark {}"), "building": parse("by a {}, at dusk")}


def test_some_words_are_said_in_a_way_of_their_own() -> None:
    names = ["sky", "car", "building", "tree"]
    places = placed(names, PLACES)
    assert list(places) == [0, 2]
    text, spans = fill(parse("a photo of a {} today"), ["sky", "car", "office", "oak"], places)
    assert text == "a photo of a car and an oak under a dark sky by an office, at dusk today"
    assert [text[start:end] for start, end in spans] == ["sky", "car", "office", "oak"]


def test_the_first_word_takes_the_template_where_all_have_places() -> None:
    text, spans = fill(parse("a {}"), ["building", "sky"], placed(["building", "sky"], PLACES))
    assert text == "a building under a dark sky"
    assert spans == [(2, 10), (24, 27)]


def test_default_templates_say_different_things() -> None:
    assert len(DEFAULT) == 1320
    assert len({normalise(fill(parse(text), ["oak"])[0]) for text in DEFAULT}) == 1320
