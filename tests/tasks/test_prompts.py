from itertools import islice

import numpy as np
import pytest

from tasks.lexicon import Entry
from tasks.params import ExpandPrompts, InputError, PromptShares
from tasks.prompts import compose, draw_word, expand, relation_sequence, with_article


def section(**changes: object) -> ExpandPrompts:
    values: dict[str, object] = {
        "classes": ["car", "dog"],
        "lexicon": "builtin",
        "templates": ["a {}", "a picture of a {} on grass"],
        "images_per_class": 10,
        "shares": {"plain": 0.5, "synonym": 0.2, "hyponym": 0.3},
        "two_class_share": 0.5,
        "negative_prompt": "",
        "seed": 0,
    }
    return ExpandPrompts.model_validate(values | changes)


@pytest.mark.parametrize(
    ("template", "phrase", "text", "start"),
    [
        ("a {}", "car", "a car", 2),
        ("a {}", "oak", "an oak", 3),
        ("A {} on grass", "owl", "An owl on grass", 3),
        ("a red {}", "auto", "a red auto", 6),
        ("an {} at sea", "boat", "a boat at sea", 2),
        ("{}", "oak", "oak", 0),
        ("two of the {}", "oak", "two of the oak", 11),
    ],
)
def test_article_follows_the_word(template: str, phrase: str, text: str, start: int) -> None:
    assert with_article(template, phrase) == (text, start)


def test_relations_hold_their_shares_in_every_beginning() -> None:
    shares = PromptShares(plain=0.5, synonym=0.2, hyponym=0.3)
    sequence = list(islice(relation_sequence(shares), 100))
    for count in (10, 50, 100):
        for name, share in shares:
            assert abs(sequence[:count].count(name) - share * count) <= 1


def test_class_without_synonyms_is_named_plainly() -> None:
    entry = Entry("boat", ("boat",), (), ("canoe",))
    rng = np.random.default_rng(0)
    assert draw_word(entry, "synonym", rng) == ("boat", "plain")
    assert draw_word(entry, "hyponym", rng) == ("canoe", "hyponym")


def test_two_classes_keep_their_own_spans() -> None:
    text, classes = compose(
        "a picture of a {} on grass", [("tree", "oak", "hyponym"), ("bird", "owl", "hyponym")]
    )
    assert text == "a picture of an oak and an owl on grass"
    assert [(c["name"], text[c["start"] : c["end"]]) for c in classes] == [
        ("tree", "oak"),
        ("bird", "owl"),
    ]


def test_spans_mark_the_phrases_in_every_row() -> None:
    rows = expand(section(images_per_class=40))
    assert len(rows) == 80
    assert all(r["text"][c["start"] : c["end"]] == c["phrase"] for r in rows for c in r["classes"])
    assert len({row["seed"] for row in rows}) == 80


def test_a_larger_budget_keeps_all_rows() -> None:
    small = [
        row for row in expand(section(images_per_class=5)) if row["classes"][0]["name"] == "dog"
    ]
    large = [
        row for row in expand(section(images_per_class=9)) if row["classes"][0]["name"] == "dog"
    ]
    assert large[:5] == small


def test_another_seed_gives_other_noise() -> None:
    assert {r["seed"] for r in expand(section())}.isdisjoint(
        r["seed"] for r in expand(section(seed=1))
    )


def test_class_without_a_phrase_is_named_with_the_remedy() -> None:
    with pytest.raises(InputError, match=r"'zeppelin' has no phrase.*phrases: \[\.\.\.\]"):
        expand(section(classes=["car", "zeppelin"]))


def test_a_word_of_two_classes_is_refused() -> None:
    classes = ["car", {"name": "bus", "phrases": ["bus", "minivan"]}]
    with pytest.raises(InputError, match="'minivan' names both 'car' and 'bus'"):
        expand(section(classes=classes))
