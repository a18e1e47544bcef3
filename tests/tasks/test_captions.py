"""Captions: read from several forms, mentions found by whole words, spans replaced."""

import json
from pathlib import Path

import pytest
import yaml

from tasks.builtin_lexicon import BuiltinLexicon
from tasks.captions import (
    AMBIGUOUS,
    TABLE,
    Caption,
    Mention,
    Table,
    append_classes,
    claim_table,
    find_claims,
    find_mentions,
    phrase_table,
    read_captions,
    replace_mentions,
)
from tasks.lexicon import Entry, Word, look_up
from tasks.params import ClassPhrases, InputError


def entry(name: str, *kinds: str, taken: dict[str, str] | None = None) -> Entry:
    words = [Word(name, "plain", 0, ""), *(Word(kind, "hyponym", 1, "") for kind in kinds)]
    return Entry(name, "", tuple(words), frozenset(), taken or {})


ENTRIES = [
    entry("cat", "tabby cat"),
    entry("dog", "poodle"),
    entry("potted plant"),
    entry("sheep"),
]


def mentioned(text: str, *stop_words: str) -> list[tuple[str, str, bool]]:
    found = find_mentions(text, phrase_table(ENTRIES, stop_words))
    return [(one.name, text[one.start : one.end], one.is_plural) for one in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A cat sits.", [("cat", "cat", False)]),
        ("Two Cats and a DOG", [("cat", "Cats", True), ("dog", "DOG", False)]),
        ("A category of dogma, scat!", []),
        ("A tabby cat by plants", [("cat", "tabby cat", False)]),
        ("two potted plants", [("potted plant", "potted plants", True)]),
        ("a potted cat plant", [("cat", "cat", False)]),
        ("A sheep dog", [("dog", "dog", False)]),
        ("A dog, cats", [("dog", "dog", False), ("cat", "cats", True)]),
        ("A white sheep", [("sheep", "sheep", False)]),
        ("A dog herds white sheep", [("dog", "dog", False), ("sheep", "sheep", True)]),
        ("dog-friendly", []),
        ("A hot dog, a dog", [("dog", "dog", False)]),
        ("dog houses and sheep", [("sheep", "sheep", True)]),
        ("a cat and a cat's bowl", [("cat", "cat", False)]),
        ("a dog and a cat\u2019s bowl", [("dog", "dog", False), (AMBIGUOUS, "cat", True)]),
        ("The cats' bowl", [(AMBIGUOUS, "cats", True)]),
        ("", []),
    ],
)  # fmt: skip
def test_classes_are_found_by_whole_words(text: str, expected: list) -> None:
    assert mentioned(text) == expected


def test_a_stop_word_hides_what_is_inside() -> None:
    assert mentioned("A dog eats a hot dog", "hot dog") == [("dog", "dog", False)]


VOC = [
    look_up(ClassPhrases(name=name), BuiltinLexicon(), 9, [])
    for name in (
        "aeroplane",
        "bird",
        "bus",
        "chair",
        "dog",
        "horse",
        "person",
        "train",
        "tvmonitor",
    )
]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("A plane over a TV", ["aeroplane", "tvmonitor"]),
        ("Two jets", ["aeroplane"]),
        ("A jet ski", []),
        ("A couple with a dog", [AMBIGUOUS, "dog"]),
        ("A couple of dogs", ["dog"]),
        ("A family with a dog and a girl", ["dog", "person"]),
        ("A lady, men, a girl and children", ["person"]),
        ("Kids on a TV set", ["person", "tvmonitor"]),
        ("A bus stop and a train station", []),
        ("Two bird cages on a chair lift", []),
        ("sea horses and hot dogs", []),
        ("A horse's head by a train", [AMBIGUOUS, "train"]),
    ],
)  # fmt: skip
def test_what_captions_say_of_voc_s_classes(text: str, names: list[str]) -> None:
    assert Caption("", text, find_mentions(text, phrase_table(VOC))).names == names


def test_the_longest_phrase_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for each of many sentences: a table may hold thousands of phrases."""
    passes = []
    monkeypatch.setattr(
        Table, "__iter__", lambda table: passes.append(len(table)) or dict.__iter__(table)
    )
    phrases, claims = phrase_table(VOC), claim_table(VOC)
    find_claims("a dog", claims), find_mentions("a dog", phrases)
    passes.clear()
    for _ in range(3):
        assert find_claims("a dog train", claims) == {"dog", "train"}
        assert [one.name for one in find_mentions("a train", phrases)] == ["train"]
    assert passes == []


def test_claims_look_into_all_but_compounds() -> None:
    table = claim_table(VOC)
    assert find_claims("a dog train", table) == {"dog", "train"}
    assert find_claims("hot dogs at the bus stop", table) == set()
    assert find_claims("the horse's head and a guy", table) == {"horse", "person"}
    hot_dog = claim_table([*VOC, entry("hot dog")])
    assert find_claims("a hot dog", hot_dog) == {"hot dog"}


def test_a_class_may_be_called_like_a_compound() -> None:
    table = phrase_table([*VOC, entry("hot dog")])
    assert [one.name for one in find_mentions("a hot dog and a bus stop", table)] == ["hot dog"]


def test_words_of_captions_are_single_phrases_once() -> None:
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    for part in ("also_said", "together"):
        said = [word for given in table[part].values() for word in given]
        assert len(set(said)) == len(said)
        assert not set(said) & set(table["compounds"]) - {"house plant"}
    assert len(set(table["compounds"])) == len(table["compounds"])
    assert all(" " in text for text in table["compounds"])


def test_words_of_other_classes_are_not_looked_for() -> None:
    table = phrase_table([entry("animal", "dog", taken={"dog": "dog"}), entry("dog")])
    assert [one.name for one in find_mentions("a dog", table)] == ["dog"]
    unclear = phrase_table([entry("car", "convertible"), entry("sofa", "convertible")])
    assert [one.name for one in find_mentions("a convertible", unclear)] == [AMBIGUOUS]


def test_claims_are_by_all_that_know_a_word() -> None:
    table = claim_table([entry("animal", "dog", taken={"dog": "dog"}), entry("dog"), entry("cat")])
    assert find_claims("two dogs", table) == {"animal", "dog"}


@pytest.mark.parametrize(
    ("text", "word_of", "expected"),
    [
        ("A pug on a dog.", {"dog": "owl"}, "A pug on an owl."),
        ("A dog, two cats.", {"dog": "Airedale", "cat": "lynx"}, "An Airedale, two lynxes."),
        ("A brown dog", {"dog": "airedale"}, "A brown airedale"),
        ("A cat sees an dog", {"cat": "grass", "dog": "sky"}, "Grass sees sky"),
        ("The dog and a dog", {"dog": "hour"}, "The hour and an hour"),
        ("Dogs and sheep", {"dog": "lynx", "sheep": "cat"}, "Lynxes and cats"),
    ],
)  # fmt: skip
def test_mentions_are_replaced_in_their_number(
    text: str, word_of: dict[str, str], expected: str
) -> None:
    caption = Caption("1", text, find_mentions(text, phrase_table(ENTRIES)))
    filled, spans = replace_mentions(caption, word_of)
    assert filled == expected
    assert len(spans) == len(caption.mentions)
    singular = {word.lower() for word in word_of.values()}
    phrases = [filled[start:end].lower() for start, end in spans]
    assert all(
        {each, each.removesuffix("s"), each.removesuffix("es")} & singular for each in phrases
    )


def test_class_words_are_appended() -> None:
    caption = Caption("1", "A dog sits by a wall.", (Mention("dog", 2, 5, False),))
    text, spans = append_classes(caption, ["dog", "brick wall"])
    assert text == "A dog sits by a wall; dog, brick wall"
    assert [text[start:end] for start, end in spans] == ["dog", "brick wall"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "A dog.\n\n A  cat. \n", [("1", "A dog."), ("3", "A cat.")]),
        ("a.txt", "\ufeffA dog.", [("1", "A dog.")]),
        ("a.JSON", ["A dog."], [("1", "A dog.")]),
        ("a.json", ["A dog.", "A cat."], [("1", "A dog."), ("2", "A cat.")]),
        ("a.json", {"x": "A dog."}, [("x", "A dog.")]),
        ("a.json", {"x": ["A dog.", "A cat."]}, [("x#1", "A dog."), ("x#2", "A cat.")]),
        (
            "a.json",
            {"annotations": [{"id": 7, "image_id": 1, "caption": "A dog."}]},
            [("7", "A dog.")],
        ),
        (
            "a.json",
            {"annotations": [{"id": None, "caption": "A dog."}, {"caption": "A cat."}]},
            [("annotation 1", "A dog."), ("annotation 2", "A cat.")],
        ),
    ],
)
def test_forms_of_caption_files(
    tmp_path: Path, name: str, content: object, expected: list[tuple[str, str]]
) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / name).write_text(text)
    assert read_captions(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jpg", b"\xff\xd8\xff\xe0", "is not text"),
        (
            "a.txt",
            b"A dog.\n\n\0 A cat.",
            r"entry 3 has the control character '\\x00'; give sent",
        ),
        ("a.json", b'{"x": "A \\u001b[1mdog"}', r"entry x has the control character '\\x1b'"),
        ("a.json", b"[" * 100_000 + b"]" * 100_000, "is nested too deeply; give a list of"),
        ("a.txt", b"\n \n", "has no sentence in it; give sentences in UTF-8"),
        ("a.txt", b"", "has no sentence in it"),
        ("a.json", b"[]", "has no sentence in it"),
        ("a.json", b"[1, 2]", "the entry 1 is neither a sentence nor a list of sentences"),
        ("a.json", b"3", "holds no sentences; give a list of sentences"),
        ("a.json", b"{", "Expecting property name"),
        ("a.json", b'{"annotations": [{"id": 1}]}', "an annotation has no caption"),
        (
            "a.json",
            b'{"annotations": [{"id": 7, "caption": "a"}, {"id": 7, "caption": "b"}]}',
            "two sentences have the id 7; give each its own or none",
        ),
        ("a.json", b'{"x": ["a"], "x#1": "b"}', "two sentences have the id x#1; give each its own"),
    ],
)
def test_a_file_without_captions_is_told(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_captions(tmp_path / name)
    assert str(caught.value).startswith(f"expand_prompts.captions: {tmp_path / name}: ")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; give a text or JSON file, or none"):
        read_captions(tmp_path)
    with pytest.raises(InputError, match="no such file; give a text or JSON file, or none"):
        read_captions(tmp_path / "none.txt")
