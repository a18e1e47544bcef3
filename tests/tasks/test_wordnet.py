"""A WordNet as lexicon: its words, its database, and the real one where it is at hand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.lexicon import Sense, Word
from tasks.params import InputError
from tasks.wordnet import STORE, WordNet

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).with_name("tiny_wordnet.xml")

DOG, CAR, CRANE = "n02084071", "n02958343", "n02012849"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> WordNet:
    return WordNet(str(TINY), tmp_path_factory.mktemp("tiny"))


def test_senses_come_with_definitions(tiny: WordNet) -> None:
    assert tiny.senses("crane") == [
        Sense(CRANE, "a large long-necked wading bird"),
        Sense("n03126707", "a machine that lifts and moves heavy objects"),
    ]
    assert tiny.senses("yeti") == []
    assert tiny.sense("n00000000") is None
    assert tiny.sense(DOG) == Sense(DOG, "a member of the genus Canis")


def test_words_have_relation_depth_and_synset(tiny: WordNet) -> None:
    """Without the Latin name and the word whose definition disparages."""
    assert tiny.words(DOG, "dog", 2) == [
        Word("dog", "plain", 0, DOG),
        Word("domestic dog", "synonym", 0, DOG),
        Word("poodle", "hyponym", 1, "n02113335"),
        Word("poodle dog", "hyponym", 1, "n02113335"),
        Word("toy poodle", "hyponym", 2, "n02113624"),
    ]
    assert max(word.depth for word in tiny.words(DOG, "dog", 1)) == 1


def test_words_that_mean_something_else_are_left_out(tiny: WordNet) -> None:
    """A convertible is a sofa too, a machine any device; a synset without WordNet 3.0 id stays."""
    assert tiny.words(CAR, "car", 3) == [
        Word("car", "plain", 0, CAR),
        Word("auto", "synonym", 0, CAR),
        Word("hybrid car", "hyponym", 1, "tiny-12-n"),
    ]


def test_a_class_called_otherwise_gets_its_clearest_name(tiny: WordNet) -> None:
    assert tiny.words(DOG, DOG, 1)[0].text == "dog"
    assert tiny.words(CRANE, CRANE, 1)[0].text == "crane"


def test_kinds_are_all_that_lies_below(tiny: WordNet) -> None:
    assert tiny.kinds("n00015388") == {DOG, CRANE, "n02113335", "n02113624", "n02086240"}


def test_the_database_is_made_once_and_stays_out_of_the_home(tmp_path: Path) -> None:
    home, root = tmp_path / "home", tmp_path / "root"
    home.mkdir()
    code = (
        "from pathlib import Path; from tasks.wordnet import WordNet; "
        f"print(WordNet({str(TINY)!r}, Path({str(root)!r})).senses('crane')[0].synset)"
    )
    environment = {**os.environ, "HOME": str(home)}
    environment.pop("WN_DATA_DIR", None)
    times = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{CRANE}\n"
        (database,) = (root / STORE).glob("*/wn.db")
        times.append(database.stat().st_mtime_ns)
    assert times[0] == times[1]
    assert list(home.iterdir()) == []


def test_a_missing_lexicon_comes_with_the_command_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WN_DATA_DIR", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"get the lexicon once with `python -m wn download oewn:"):
        WordNet("oewn:2024", tmp_path)
    assert not (tmp_path / "nothing").exists()


def test_a_lexicon_that_was_downloaded_goes_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `python -m wn download` leaves: a database in wn's own folder."""
    environment = {**os.environ, "WN_DATA_DIR": str(tmp_path / "wn")}
    (tmp_path / "wn").mkdir()
    code = f"import wn; wn.add({str(TINY)!r}, progress_handler=None)"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    monkeypatch.setenv("WN_DATA_DIR", str(tmp_path / "wn"))
    lexicon = WordNet("tiny:1", tmp_path)
    assert lexicon.words(DOG, "dog", 1)[2] == Word("poodle", "hyponym", 1, "n02113335")
    with pytest.raises(InputError, match="download tiny:2"):
        WordNet("tiny:2", tmp_path)


def test_a_file_that_is_no_wordnet_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "notes.xml").write_text("<notes/>")
    with pytest.raises(InputError, match=r"notes\.xml cannot be read as WN-LMF"):
        WordNet("notes.xml", tmp_path)
    assert list((tmp_path / STORE).iterdir()) == []


@pytest.fixture(scope="module")
def oewn(shared_root: Path) -> WordNet:
    return WordNet("../shared/data/lists/oewn-nouns.xml.xz", shared_root)


def test_real_senses(oewn: WordNet) -> None:
    for name in ("crane", "mouse", "train", "monitor"):
        assert len(oewn.senses(name)) > 1
    assert {"n02012849", "n03126707"} == {sense.synset for sense in oewn.senses("crane")}


def test_real_words_of_a_dog(oewn: WordNet) -> None:
    words = {word.text: word for word in oewn.words(DOG, "dog", 3)}
    assert words["poodle"] == Word("poodle", "hyponym", 1, "n02113335")
    assert words["dachshund"].depth == 2
    assert "Canis familiaris" not in words
    assert "boxer" not in words  # a fighter too
    assert all(word.depth <= 3 for word in words.values())
