"""Which words a class has, whose they are, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.builtin_lexicon import TABLE, BuiltinLexicon
from tasks.lexicon import Entry, Lexicon, Word, assign, look_up, look_up_all, open_lexicon
from tasks.params import ClassPhrases, ExpandPrompts, InputError, load_params

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).with_name("tiny_wordnet.xml")
PRESET = load_params(ROOT / "presets/storybook.yaml").expand_prompts
VOC = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor"
)
CITYSCAPES = (
    "road sidewalk building wall fence pole traffic_light traffic_sign vegetation terrain sky "
    "person rider car truck bus train motorcycle bicycle"
)


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory: pytest.TempPathFactory) -> Lexicon:
    return open_lexicon(f"wordnet:{TINY}", tmp_path_factory.mktemp("tiny"))


def section(root: Path, *classes: Any, **changes: Any) -> tuple[ExpandPrompts, Path]:
    values = PRESET.model_dump() | {"lexicon": f"wordnet:{TINY}", "classes": list(classes)}
    return ExpandPrompts.model_validate(values | changes), root


def texts(words: tuple[Word, ...]) -> list[str]:
    return [word.text for word in words]


@pytest.mark.parametrize("name", [*VOC.split(), *CITYSCAPES.split()])
def test_builtin_knows_the_classes_of_voc_and_cityscapes(name: str) -> None:
    entry = look_up(ClassPhrases(name=name.replace("_", " ")), BuiltinLexicon(), 9, ())
    assert entry.of("plain")
    assert entry.synset.startswith("n")
    for word in entry.words:
        assert len(word.synset) == 9
        assert (word.depth > 0) == (word.relation == "hyponym")


def test_builtin_words_are_those_of_wordnet(shared_root: Path) -> None:
    """Each word's synset has it; a hyponym's lies below its class at the depth of the table.

    A phrase or synonym of another synset than the class's is listed here, so that neither the word
    nor the synset can be mistaken.
    """
    oewn = open_lexicon("wordnet:../shared/data/lists/oewn-nouns.xml.xz", shared_root)
    elsewhere = {("boat", "sailboat")}  # a kind of it all the same
    names, other = [], set()
    for name, row in yaml.safe_load(TABLE.read_text()).items():
        top = oewn._synset(row["sense"])  # type: ignore[attr-defined]
        for item in [*row["phrases"], *row.get("synonyms", [])]:
            word, synset = (
                (item, row["sense"]) if isinstance(item, str) else next(iter(item.items()))
            )
            if synset != row["sense"]:
                other.add((name, word, synset))
            if word not in oewn._synset(synset).lemmas():  # type: ignore[attr-defined]
                names.append((name, word))
        depth_of = {one.id: depth for one, depth in oewn._below(top, None)}  # type: ignore[attr-defined]
        for depth, kinds in row.get("hyponyms", {}).items():
            for word, synset in kinds.items():
                found = oewn._synset(synset)  # type: ignore[attr-defined]
                assert word in found.lemmas(), (name, word)
                if (name, word) not in elsewhere:
                    assert depth_of[found.id] == depth, (name, word)
    assert names == [
        ("cat", "cat"),
        ("motorbike", "motorbike"),
        ("motorcycle", "motorbike"),
        ("pottedplant", "potted plant"),
        ("traffic sign", "traffic sign"),
        ("traffic sign", "road sign"),
    ]
    assert other == {
        ("cow", "cow", "n02403454"),
        ("flower", "bloom", "n11669335"),
        ("flower", "blossom", "n11669335"),
        ("pole", "pole", "n03976657"),
        ("tvmonitor", "computer monitor", "n03085219"),
        ("vegetation", "greenery", "n13153633"),
    }


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("bus", "omnibus"),
        ("cat", "tiger cat"),
        ("chair", "wheelchair"),
        ("pole", "post"),
        ("pottedplant", "anthurium"),
        ("rider", "cyclist"),
        ("rider", "motorcyclist"),
        ("sheep", "black sheep"),
        ("sidewalk", "pavement"),
    ],
)
def test_builtin_has_no_word_that_would_draw_something_else(name: str, word: str) -> None:
    assert word not in texts(look_up(ClassPhrases(name=name), BuiltinLexicon(), 9, ()).words)


def test_builtin_records_what_a_word_is_to_its_class() -> None:
    def word(name: str, text: str) -> Word:
        words = look_up(ClassPhrases(name=name), BuiltinLexicon(), 9, ()).words
        return next(word for word in words if word.text == text)

    assert word("motorbike", "motorbike") == Word("motorbike", "plain", 0, "n03790512")
    assert word("motorcycle", "motorbike") == Word("motorbike", "synonym", 0, "n03790512")
    assert word("diningtable", "dinner table").relation == "hyponym"
    assert word("road", "roadway").relation == "hyponym"


def test_given_words_replace_known_ones_and_keep_their_record() -> None:
    item = ClassPhrases(name="car", hyponyms=("sedan", "growler"))
    entry = look_up(item, BuiltinLexicon(), 9, ())
    assert texts(entry.of("synonym")) == ["auto", "automobile"]
    assert entry.of("hyponym") == (
        Word("sedan", "hyponym", 1, "n04166281"),
        Word("growler", "hyponym", 1, ""),
    )


def test_a_class_of_its_own_words_needs_no_lexicon(wordnet: Lexicon) -> None:
    item = ClassPhrases(name="zeppelin", phrases=("airship",))
    assert look_up(item, BuiltinLexicon(), 9, ()).words == (Word("airship", "plain", 0, ""),)
    crane = ClassPhrases(name="crane", phrases=("digger",), synonyms=(), hyponyms=())
    assert look_up(crane, wordnet, 9, ()).synset == ""


def test_depth_and_stop_list_cut_hyponyms(wordnet: Lexicon) -> None:
    dog = ClassPhrases(name="dog")
    assert "toy poodle" in texts(look_up(dog, wordnet, 2, ()).words)
    assert "toy poodle" not in texts(look_up(dog, wordnet, 1, ()).words)
    stopped = look_up(dog, wordnet, 2, ("Toy Poodles", "domestic dog"))
    assert texts(stopped.words) == ["dog", "poodle", "poodle dog"]


def test_the_stop_list_cuts_given_words_too(wordnet: Lexicon) -> None:
    dog = ClassPhrases(name="dog", synonyms=("hound", "pooch"), hyponyms=("poodle", "pug"))
    words = look_up(dog, wordnet, 2, ("Pooch", "pugs")).words
    assert texts(words) == ["dog", "hound", "poodle"]


@pytest.mark.parametrize("phrases", [None, ("hound", "dog")])
def test_a_plain_phrase_that_is_a_stop_word_is_refused(
    wordnet: Lexicon, phrases: tuple[str, ...] | None
) -> None:
    with pytest.raises(InputError) as caught:
        look_up(ClassPhrases(name="dog", phrases=phrases), wordnet, 2, ("Dogs",))
    assert str(caught.value) == (
        "expand_prompts.stop_words: 'dog' is what class 'dog' is plainly called: take it out "
        "there, or give the class another phrase, {name: dog, phrases: [...]}"
    )


def test_plain_words_that_mean_something_else_are_told(wordnet: Lexicon) -> None:
    """A crane is a bird too; a poodle is a dog, and no other thing."""

    def ambiguous(**item: Any) -> tuple[str, ...]:
        return look_up(ClassPhrases(**item), wordnet, 9, ()).ambiguous

    assert ambiguous(name="crane", sense="n03126707") == ("crane",)
    assert ambiguous(name="crane", sense="n03126707", phrases=("derrick", "dog")) == ("dog",)
    assert ambiguous(name="dog") == ()
    assert ambiguous(name="dog", phrases=("poodle", "pooch")) == ()
    assert ambiguous(name="x", phrases=("crane", "dog"), synonyms=(), hyponyms=()) == ("crane",)


def test_an_ambiguous_class_lists_its_senses(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        look_up_all(*section(tmp_path, "crane"))
    assert str(caught.value) == (
        "expand_prompts.classes: class 'crane' can mean several things; pin one, such as "
        f"{{name: crane, sense: n02012849}}; the lexicon {TINY} knows\n"
        "    n02012849  a large long-necked wading bird\n"
        "    n03126707  a machine that lifts and moves heavy objects"
    )


def test_a_pinned_sense_decides(wordnet: Lexicon) -> None:
    entry = look_up(ClassPhrases(name="crane", sense="n03126707"), wordnet, 9, ())
    assert entry.words == (Word("crane", "plain", 0, "n03126707"),)
    digger = ClassPhrases(name="crane", sense="n03126707", phrases=("digger",))
    assert look_up(digger, wordnet, 9, ()).words == (Word("digger", "plain", 0, "n03126707"),)


def test_a_sense_that_is_unknown_is_told_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not know the sense n99999999; of 'crane' it knows"):
        look_up_all(*section(tmp_path, {"name": "crane", "sense": "n99999999"}))


def test_all_problems_are_listed() -> None:
    values = PRESET.model_dump() | {"classes": ["yeti", "car", "kraken"]}
    with pytest.raises(InputError) as caught:
        look_up_all(ExpandPrompts.model_validate(values))
    lines = str(caught.value).splitlines()
    assert [line.split("class ")[1].split(" ")[0] for line in lines] == ["'yeti'", "'kraken'"]
    assert "phrases: [...]" in lines[0]


def test_two_classes_that_share_a_phrase_are_refused(tmp_path: Path) -> None:
    cranes = [{"name": "crane", "sense": "n02012849"}, {"name": "lift", "sense": "n03126707"}]
    with pytest.raises(InputError, match=r"the phrase 'crane' names both 'crane' and 'lift'"):
        look_up_all(*section(tmp_path, *cranes))


def test_two_classes_of_one_sense_are_refused(tmp_path: Path) -> None:
    classes = ["dog", {"name": "hound", "sense": "n02084071", "phrases": ["hound"]}]
    with pytest.raises(InputError) as caught:
        look_up_all(*section(tmp_path, *classes))
    assert str(caught.value) == (
        "expand_prompts.classes: 'dog' and 'hound' both mean n02084071; a pixel has one label: "
        "drop one of them, or pin another sense, {name: hound, sense: n...}"
    )
    unpinned = [{"name": name, "phrases": [name]} for name in ("zeppelin", "blimp")]
    assert len(look_up_all(*section(tmp_path, *unpinned))) == 2


def test_a_hyponym_below_another_class_is_that_class_s(tmp_path: Path) -> None:
    animal, dog = look_up_all(*section(tmp_path, "animal", "dog"))
    assert dict(animal.taken) == {
        "dog": "dog",
        "domestic dog": "dog",
        "poodle": "dog",
        "poodle dog": "dog",
        "toy poodle": "dog",
    }
    assert dict(dog.taken) == {}
    alone, _ = look_up_all(*section(tmp_path, "animal", "sofa"))
    assert dict(alone.taken) == {}


def test_a_class_of_a_deeper_level_takes_its_words_too(tmp_path: Path) -> None:
    animal, dog, poodle = look_up_all(*section(tmp_path, "animal", "dog", "poodle"))
    assert animal.taken["toy poodle"] in ("dog", "poodle")
    assert dict(dog.taken) == {
        "poodle": "poodle",
        "poodle dog": "poodle",
        "toy poodle": "poodle",
    }
    assert dict(poodle.taken) == {}


def test_a_word_that_two_classes_know_is_neither_s() -> None:
    """Convertible is a car and a sofa; a class called so has it alone."""
    word = Word("convertible", "hyponym", 1, "")
    car, sofa = (Entry(name, "", (Word(name, "plain", 0, ""), word)) for name in ("car", "sofa"))
    assert [dict(entry.taken) for entry in assign([car, sofa])] == [
        {"convertible": "sofa"},
        {"convertible": "car"},
    ]
    own = Entry("convertible", "", (Word("convertible", "plain", 0, ""),))
    assert [dict(entry.taken) for entry in assign([car, own])] == [
        {"convertible": "convertible"},
        {},
    ]


def test_a_word_of_two_meanings_is_neither_the_wider_nor_the_closer_class_s() -> None:
    """The closer class has a word alone only where both mean the same by it."""

    def words(synset: str) -> dict[str, str]:
        wide = Entry("animal", "n1", (Word("pug", "hyponym", 1, synset),), frozenset({"n2"}))
        close = Entry("dog", "n2", (Word("pug", "hyponym", 1, "n3"),))
        return {entry.name: entry.taken.get("pug", "") for entry in assign([wide, close])}

    assert words("n3") == {"animal": "dog", "dog": ""}
    assert words("n4") == {"animal": "dog", "dog": "animal"}
