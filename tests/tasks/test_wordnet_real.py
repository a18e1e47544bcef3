"""The Open English WordNet's nouns as lexicon, where they are at hand."""

from pathlib import Path

import pytest

from tasks.lexicon import Word
from tasks.wordnet import WordNet


@pytest.fixture(scope="module")
def oewn(shared_root: Path) -> WordNet:
    return WordNet("../shared/data/lists/oewn-nouns.xml.xz", shared_root)


def test_real_senses(oewn: WordNet) -> None:
    for name in ("crane", "mouse", "bat", "train", "monitor"):
        assert len(oewn.senses(name)) > 1
    assert {"n02012849", "n03126707"} == {sense.synset for sense in oewn.senses("crane")}


def test_real_words_of_a_dog(oewn: WordNet) -> None:
    words = {word.text: word for word in oewn.words("n02084071", "dog", 3)}
    assert words["poodle"] == Word("poodle", "hyponym", 1, "n02113335")
    assert words["dachshund"].depth == 2
    assert "Canis familiaris" not in words
    assert "boxer" not in words  # a fighter too
    assert all(word.depth <= 3 for word in words.values())


@pytest.mark.parametrize(
    ("species", "stays"),
    [
        ("Ciconia nigra", "black stork"),
        ("Canis lupus", "timber wolf"),
        ("Orcinus orca", "killer whale"),
        ("Pica pica", "European magpie"),
        ("Constrictor constrictor", "boa constrictor"),
    ],
)
def test_real_latin_names_are_left_out(oewn: WordNet, species: str, stays: str) -> None:
    """Though nigra, lupus, orca, pica and constrictor are nouns of their own."""
    (synset,) = (one.synset for one in oewn.senses(species))
    words = [word.text for word in oewn.words(synset, stays, 1)]
    assert words[0] == stays
    assert species not in words
    assert oewn.senses(species.split()[1]) != []


def test_real_kinds_with_none_but_latin_names_are_left_out(oewn: WordNet) -> None:
    (bolete,) = (one.synset for one in oewn.senses("bolete"))
    assert [word.text for word in oewn.words(bolete, "bolete", 1)] == [
        "bolete",
        "Frost's bolete",
        "old-man-of-the-woods",
    ]
    (boletus,) = (one.synset for one in oewn.senses("Boletus chrysenteron"))
    assert oewn.words(boletus, boletus, 1) == [
        Word("Boletus chrysenteron", "plain", 0, boletus),
    ]
    (creeper,) = (one.synset for one in oewn.senses("Virginia creeper"))
    assert "Virginia creeper" in [word.text for word in oewn.words(creeper, "", 1)]


def test_real_names_give_way_where_they_mean_more(oewn: WordNet) -> None:
    for wnid, name, plain in (
        ("n03947888", "pirate", "pirate ship"),
        ("n03793489", "mouse", "computer mouse"),
        ("n03954731", "plane", "carpenter's plane"),
        ("n02129165", "lion", "lion"),
    ):
        assert oewn.words(wnid, name, 1)[0].text == plain
