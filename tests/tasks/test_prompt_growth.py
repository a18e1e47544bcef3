"""What rows keep when more are asked for, or a class comes in and takes their words."""

from dataclasses import replace
from pathlib import Path

import pytest

from tasks import prompts
from tasks.lexicon import Word
from tasks.params import InputError
from tasks.prompt_sources import Weighted, prepare
from tasks.prompts import Tally, class_rows, expand
from tests.toys.prompts import SENTENCES, captioned, names, rows_of, section

TINY = Path(__file__).with_name("tiny_wordnet.xml")


@pytest.mark.parametrize("name", ["car", "dog", "boat"])
def test_a_larger_budget_keeps_rows_and_their_order(tmp_path: Path, name: str) -> None:
    few, _ = rows_of(name, captioned(tmp_path, images_per_class=13), tmp_path)
    many, _ = rows_of(name, captioned(tmp_path, images_per_class=80), tmp_path)
    assert many[:13] == few


def test_an_appended_class_keeps_the_rows_of_the_others(tmp_path: Path) -> None:
    for images in (5, 40):
        asked = {"images_per_class": images, "templates": ["a {}", "one {}", "two {}"]}
        before, after = (
            list(expand(captioned(tmp_path, classes=classes, **asked), tmp_path))
            for classes in (["car", "dog"], ["car", "dog", "cow", "sheep"])
        )
        assert [row for row in after if names(row)[0] in ("car", "dog")] == before


def test_rows_whose_word_became_a_class_are_withdrawn_and_replaced() -> None:
    """Dogs leave the animals: the other rows stay, in their order, and new ones follow."""
    asked = {
        "lexicon": f"wordnet:{TINY}",
        "images_per_class": 60,
        "several_share": 0.3,
        "templates": [f"a {{}} on page {number}" for number in range(90)],
    }
    sofa_first = ["sofa", "animal"]
    before, quiet = rows_of("animal", section(classes=sofa_first, **asked))
    after, tally = rows_of("animal", section(classes=[*sofa_first, "dog"], **asked))
    dogs = {"dog", "domestic dog", "poodle", "poodle dog", "toy poodle"}
    gone = [row for row in before if row["classes"][0]["phrase"] in dogs]
    ids = {row["prompt_id"] for row in after}
    assert len(gone) > 10 and quiet.withdrawn == 0
    assert not [row for row in after if row["classes"][0]["phrase"] in dogs]
    assert [row for row in before if row not in gone] == [
        row for row in after if row["prompt_id"] in {each["prompt_id"] for each in before}
    ]
    assert ids.isdisjoint(row["prompt_id"] for row in gone)
    assert tally.withdrawn == len(gone)
    assert len(after) == 60


ANIMAL = {"name": "animal", "hyponyms": ["dog", "poodle", "zebra", "lion", "otter", "seal"]}
ANIMALS = {
    "lexicon": f"wordnet:{TINY}",
    "images_per_class": 400,
    "templates": [f"a {{}} on page {number}" for number in range(2000)],
    "shares": {"plain": 0.9, "synonym": 0.0, "hyponym": 0.1},
}


@pytest.mark.parametrize("name", ["sofa", "animal"])
def test_rows_that_stay_keep_their_places(name: str) -> None:
    """Full shards without a withdrawn row are the same, with rows of two streams in them."""
    before, _ = rows_of(name, section(classes=[ANIMAL, "sofa"], **ANIMALS))
    after, tally = rows_of(name, section(classes=[ANIMAL, "sofa", "dog"], **ANIMALS))
    gone = [any(each["phrase"] in ("dog", "poodle") for each in row["classes"]) for row in before]
    assert sum(gone) == tally.withdrawn >= 3
    stays = [one == two for one, two in zip(before, after, strict=True)]
    assert stays == [not each for each in gone]
    shards = [range(first, first + 20) for first in range(0, 400, 20)]
    untouched = [shard for shard in shards if not any(gone[at] for at in shard)]
    assert 3 <= len(untouched) < len(shards)
    for shard in untouched:
        assert {before[at]["classes"][0]["relation"] for at in shard} == {"plain", "hyponym"}


def test_a_class_that_loses_all_words_of_a_relation_keeps_its_other_rows() -> None:
    lost = ANIMAL | {"hyponyms": ["dog", "poodle"]}
    for name in ("sofa", "animal"):
        before, _ = rows_of(name, section(classes=[lost, "sofa"], **ANIMALS))
        after, tally = rows_of(name, section(classes=[lost, "sofa", "dog"], **ANIMALS))
        changed = [one for one, two in zip(before, after, strict=True) if one != two]
        assert len(changed) == tally.withdrawn > 5
        assert all({"dog", "poodle"} & {c["phrase"] for c in r["classes"]} for r in changed)


def test_a_spare_row_stays_whatever_else_goes_and_however_many_are_asked_for() -> None:
    shares = {"plain": 0.5, "synonym": 0.0, "hyponym": 0.5}
    none, one, two, more = (
        rows_of(
            "animal",
            section(**ANIMALS | {"classes": classes, "images_per_class": n, "shares": shares}),
        )[0]
        for classes, n in (
            ([ANIMAL], 150),
            ([ANIMAL, "poodle"], 150),
            ([ANIMAL, "poodle", "dog"], 150),
            ([ANIMAL, "poodle", "dog"], 250),
        )
    )
    spares = [at for at in range(150) if one[at] != none[at]]
    stay = [at for at in spares if one[at]["classes"][0]["phrase"] != "dog"]
    assert len(stay) > 5 and any(one[at] != two[at] for at in range(stay[-1]))
    assert [two[at] for at in stay] == [one[at] for at in stay]
    assert more[:150] == two


def test_a_class_without_words_left_stands_plainly_beside_others() -> None:
    """All animals here but cranes are dogs: beside a sofa's kind stands "animal"."""
    animal = {"name": "animal", "hyponyms": ["dog", "poodle"]}
    sofa = {"name": "sofa", "hyponyms": ["sofa bed"]}
    asked = {
        "lexicon": f"wordnet:{TINY}",
        "classes": [animal, sofa, "dog"],
        "pairs": [["animal", "sofa"]],
        "several_share": 1.0,
        "shares": {"plain": 0.0, "synonym": 0.0, "hyponym": 1.0},
    }
    rows, _ = rows_of("sofa", section(**asked))
    assert {tuple(each["phrase"] for each in row["classes"]) for row in rows} <= {
        ("sofa bed", "animal"),
        ("sofa beds", "animal"),
    }


def test_a_class_whose_words_are_as_good_as_lost_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One word in a million is its own: the deepest."""
    monkeypatch.setattr(prompts, "MOST_IN_VAIN", 50)
    asked = section(
        lexicon=f"wordnet:{TINY}",
        classes=["animal", "dog"],
        shares={"plain": 0.0, "synonym": 0.0, "hyponym": 1.0},
    )
    plan = prepare(asked)
    animal = plan.sources["animal"]
    spare = Word("amoeba", "hyponym", 9, "")
    entry = replace(animal.entry, words=(*animal.entry.words, spare))
    weights = dict.fromkeys(animal.words["hyponym"].items, 1.0) | {spare: 1e-6}
    lost = Weighted.of(weights)
    source = replace(animal, entry=entry, words=animal.words | {"hyponym": lost})
    plan = replace(plan, sources=plan.sources | {"animal": source})
    with pytest.raises(InputError, match="50 prompts of class 'animal' in a row name words of"):
        list(class_rows(plan, "animal", Tally()))


def test_a_caption_that_a_new_class_mentions_goes_to_it(tmp_path: Path) -> None:
    """Sentence 3 is the dog's until the boat is a class."""
    classes = [["car", "dog"], ["car", "dog", "boat"]]
    told = SENTENCES.replace("A photo of a dog.", "")  # which is nobody's before and after
    before, after = (
        rows_of("dog", captioned(tmp_path, told, classes=each, images_per_class=15), tmp_path)
        for each in classes
    )
    assert "3" in {row["caption_id"] for row in before[0]}
    assert {row["caption_id"] for row in after[0]} == {"", "1", "2"}
    pairs = list(zip(before[0], after[0], strict=True))
    assert all((one == two) == (one["caption_id"] != "3") for one, two in pairs)
    assert after[1].withdrawn > before[1].withdrawn
