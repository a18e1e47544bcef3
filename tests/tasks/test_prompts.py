"""Prompts: shares, spans, distinct texts, full scenes, captions."""

import os
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

from tasks.english import normalise
from tasks.prompts import expand, interleave
from tests.toys.prompts import SENTENCES, captioned, names, rows_of, section

ROOT = Path(__file__).parents[2]


def test_streams_hold_their_shares_in_every_beginning() -> None:
    shares = {
        ("templates", "plain"): 0.5,
        ("captions", "plain"): 0.2,
        ("templates", "hyponym"): 0.3,
    }
    sequence = list(islice(interleave(shares), 100))  # type: ignore[arg-type]
    for count in (10, 50, 100):
        for key, share in shares.items():
            assert abs(sequence[:count].count(key) - share * count) <= 1  # type: ignore[arg-type]


def test_rows_record_what_they_are_made_of() -> None:
    rows = list(expand(section(images_per_class=40, negative_prompt="blurry")))
    assert len(rows) == 80
    for row in rows:
        assert (
            row["source"] == "templates" and row["template"] and row["negative_prompt"] == "blurry"
        )
        for each in row["classes"]:
            assert row["text"][each["start"] : each["end"]] == each["phrase"]
            assert (each["depth"] > 0) == (each["relation"] == "hyponym")
            assert each["synset"].startswith("n")
    assert Counter(row["classes"][0]["relation"] for row in rows) == {
        "plain": 40,
        "synonym": 16,
        "hyponym": 24,
    }
    assert len({row["seed"] for row in rows}) == len({row["prompt_id"] for row in rows}) == 80


def test_a_relation_without_words_goes_to_the_plain_name() -> None:
    boat = {"name": "boat", "hyponyms": []}
    rows, tally = rows_of("boat", section(classes=[boat]))
    assert tally.relations == {"plain": 10}
    assert {row["classes"][0]["phrase"] for row in rows} == {"boat"}


def test_a_word_of_a_deeper_level_is_rarer_where_asked() -> None:
    asked = {"images_per_class": 300, "shares": {"plain": 0, "synonym": 0, "hyponym": 1}}
    templates = [f"a {{}} on page {number}" for number in range(400)]
    classes = [{"name": "dog", "hyponyms": ["poodle", "dalmatian", "dachshund", "beagle"]}]
    alike = rows_of("dog", section(templates=templates, classes=classes, **asked))[1].depths
    steep = section(templates=templates, classes=classes, depth_weight=0.2, **asked)
    weighed = rows_of("dog", steep)[1].depths
    assert 50 < alike[3] < 100  # a quarter of the words
    assert 220 < weighed[1] < 270  # 2 of 2.24
    assert weighed[3] < weighed[2] < weighed[1]


def test_texts_repeat_only_when_they_are_used_up() -> None:
    """The dog has one plain name and three templates: three texts, then repeats."""
    plain = {"plain": 1, "synonym": 0, "hyponym": 0}
    rows, tally = rows_of("dog", section(shares=plain, several_share=0, classes=["dog"]))
    assert len({row["text"] for row in rows[:3]}) == 3
    assert tally.repeats == 7
    assert len({row["prompt_id"] for row in rows}) == len({row["seed"] for row in rows}) == 10


def test_near_duplicates_are_not_drawn() -> None:
    templates = ["a {}", "A {}.", "the {}", "two {}", "several {}"]
    rows, tally = rows_of(
        "dog", section(templates=templates, several_share=0, images_per_class=200)
    )
    distinct = {normalise(row["text"]) for row in rows}
    assert len(distinct) == 200 - tally.repeats
    assert len(distinct) == 3 * 9  # a or the, two, several; name, synonym and seven kinds


def test_further_classes_stand_before_the_row_s_own_in_the_list() -> None:
    classes = ["car", "dog", "boat", "cow"]
    asked = section(classes=classes, several_share=1.0, max_classes=3, images_per_class=60)
    rows = list(expand(asked))
    for row in rows:
        own, *others = names(row)
        assert len(set(names(row))) == len(names(row))
        assert all(classes.index(other) < classes.index(own) for other in others)
    counted = Counter(len(row["classes"]) for row in rows if names(row)[0] == "cow")
    assert set(counted) == {2, 3} and min(counted.values()) > 15
    assert {len(row["classes"]) for row in rows if names(row)[0] == "car"} == {1}


def test_pairs_say_which_classes_go_together(tmp_path: Path) -> None:
    asked = {"classes": ["car", "dog", "boat"], "several_share": 1.0, "images_per_class": 30}
    rows = list(expand(section(pairs=[["boat", "car"]], **asked)))
    assert {tuple(names(row)) for row in rows} == {("car",), ("dog",), ("boat", "car")}
    counted = captioned(tmp_path, pairs="captions", **asked)
    templates = [row for row in expand(counted, tmp_path) if row["source"] == "templates"]
    assert {tuple(names(row)) for row in templates} == {("car",), ("dog", "car"), ("boat", "dog")}


SCENE = {
    "classes": ["car", "road", "dog", "sky", "boat"],
    "always": ["sky", "road"],
    "several_share": 0.7,
    "max_classes": 3,
    "images_per_class": 40,
}


def test_every_template_row_names_the_classes_that_always_stand_there() -> None:
    """Behind the row's own class and its partners, wherever in the list they are."""
    rows = list(expand(section(**SCENE)))
    assert len(rows) == 200
    partners = Counter()
    for row in rows:
        own, *others = names(row)
        always = [name for name in ("sky", "road") if name != own]
        assert others[-len(always) :] == always
        assert len(set(names(row))) == len(names(row))
        partners[own, len(others) - len(always)] += 1
        for each in row["classes"]:
            assert row["text"][each["start"] : each["end"]] == each["phrase"]
    assert {count for own, count in partners if own == "boat"} == {0, 1, 2}
    assert {count for own, count in partners if own == "dog"} == {0, 1}  # only the car is before
    assert {count for own, count in partners if own == "car"} == {0}


def test_a_full_scene_reads_like_a_sentence() -> None:
    plain = {"plain": 1.0, "synonym": 0.0, "hyponym": 0.0}
    changes = {"shares": plain, "several_share": 1.0, "templates": ["a photo of a {} at dusk"]}
    asked = section(**SCENE | changes | {"max_classes": 2})
    texts = {row["text"] for name in ("dog", "road") for row in rows_of(name, asked)[0]}
    assert texts == {
        "a photo of a dog, a car, sky and a road at dusk",
        "a photo of a road, a car and sky at dusk",
    }


def test_classes_are_said_in_their_places() -> None:
    plain = {"plain": 1.0, "synonym": 0.0, "hyponym": 0.0}
    changes = {"shares": plain, "several_share": 1.0, "templates": ["a {}"], "max_classes": 2}
    places = {"road": "on a {}", "sky": "under a dark {}"}
    asked = section(**SCENE | changes | {"places": places})
    for name, text in (
        ("dog", "a dog and a car on a road under a dark sky"),
        ("road", "a car on a road under a dark sky"),
        ("car", "a car on a road under a dark sky"),
    ):
        rows, _ = rows_of(name, asked)
        assert {row["text"] for row in rows} == {text}
        for each in rows[0]["classes"]:
            assert text[each["start"] : each["end"]] == each["name"]
        assert rows[0]["classes"][0]["name"] == name


def test_full_scenes_grow_like_other_rows() -> None:
    few, more = (list(expand(section(**SCENE | {"images_per_class": count}))) for count in (15, 40))
    for name in SCENE["classes"]:
        own = [[row for row in rows if names(row)[0] == name] for rows in (few, more)]
        assert own[1][:15] == own[0]
    longer = list(expand(section(**SCENE | {"classes": [*SCENE["classes"], "cow"]})))
    assert [row for row in longer if names(row)[0] != "cow"] == more
    assert {tuple(names(row)[-2:]) for row in longer[-40:]} == {("sky", "road")}


def test_without_such_classes_rows_are_what_they_were() -> None:
    """Pinned: ids from before `always` was there."""
    rows = list(expand(section()))
    assert rows[0]["prompt_id"] == "cf48f579b29424c9"
    assert rows[-1]["prompt_id"] == "01aeedca0e7be2ce"


def test_captions_are_left_as_they_are_by_full_scenes(tmp_path: Path) -> None:
    asked = captioned(tmp_path, always=["car"], images_per_class=20)
    rows = list(expand(asked, tmp_path))
    told = [row for row in rows if row["source"] == "captions"]
    assert "car" not in {name for row in told if row["caption_id"] == "2" for name in names(row)}
    assert all("car" in names(row) for row in rows if row["source"] == "templates")


def test_captions_are_taken_over_with_their_classes(tmp_path: Path) -> None:
    rows = list(expand(captioned(tmp_path, images_per_class=20), tmp_path))
    assert all(
        row["text"][each["start"] : each["end"]] == each["phrase"]
        for row in rows
        for each in row["classes"]
    )
    by_source = Counter((names(row)[0], row["source"]) for row in rows)
    assert [by_source["dog", source] for source in ("captions", "classes_appended")] == [10, 5]
    assert by_source["car", "templates"] == 20  # its only caption names the dog, which owns it
    captions = [row for row in rows if row["source"] == "captions"]
    dogs = {row["caption_id"] for row in captions if names(row)[0] == "dog"}
    assert dogs == {"1", "2"}  # 3 is the boat's, and 6 says what a template says
    beside = next(row for row in captions if row["caption_id"] == "1")
    assert names(beside) == ["dog", "car"]
    twice = next(row for row in captions if row["caption_id"] == "4")
    assert names(twice) == ["boat", "boat"]
    plural = [row for row in captions if row["caption_id"] == "2"]
    assert all(row["text"].startswith("Two ") and row["text"].endswith("s!") for row in plural)
    appended = next(r for r in rows if r["source"] == "classes_appended" and r["caption_id"] == "1")
    assert appended["text"].startswith("A dog sits beside a car; ")
    assert names(appended) == ["dog", "car"]
    behind = [row["classes"] for row in rows if row["source"] == "classes_appended"]
    assert {each["relation"] for classes in behind for each in classes} == {"plain"}


def test_texts_of_all_sources_are_distinct(tmp_path: Path) -> None:
    asked = captioned(tmp_path, images_per_class=60, max_classes=3)
    for name in asked.class_names:
        rows, tally = rows_of(name, asked, tmp_path)
        assert len({normalise(row["text"]) for row in rows}) >= len(rows) - tally.repeats


def test_streams_do_not_say_the_same() -> None:
    """A red car is a template with the plain word and another one with the kind."""
    red = {"name": "car", "phrases": ["car"], "synonyms": [], "hyponyms": ["red car"]}
    asked = {
        "classes": [red],
        "templates": ["a {}", "a red {}", "two {}", "two red {}"],
        "shares": {"plain": 0.5, "synonym": 0.0, "hyponym": 0.5},
        "images_per_class": 4,
    }
    for seed in range(8):
        rows, tally = rows_of("car", section(seed=seed, **asked))
        assert len({normalise(row["text"]) for row in rows}) == 4
        assert tally.repeats == tally.withdrawn == 0


def test_another_seed_gives_other_noise() -> None:
    seeds = [{row["seed"] for row in expand(section(seed=seed))} for seed in (0, 1)]
    assert seeds[0].isdisjoint(seeds[1])


def test_another_negative_prompt_gives_other_ids_of_the_same_texts() -> None:
    plain, negative = (list(expand(section(negative_prompt=text))) for text in ("", "blurry"))
    assert [row["text"] for row in plain] == [row["text"] for row in negative]
    ids = [{row["prompt_id"] for row in rows} for rows in (plain, negative)]
    assert ids[0].isdisjoint(ids[1])


def test_rows_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text(SENTENCES)
    code = f"""
import hashlib, json
from pathlib import Path
from tasks.params import ExpandPrompts
from tasks.prompts import expand
asked = ExpandPrompts.model_validate(json.loads({captioned(tmp_path).model_dump_json()!r}))
print(hashlib.sha256(json.dumps(list(expand(asked, Path({str(tmp_path)!r})))).encode()).hexdigest())
"""
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
