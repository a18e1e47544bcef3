"""A WordNet as lexicon: its words and its database."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import wn

from tasks import wordnet
from tasks.lexicon import Sense, Word
from tasks.params import InputError
from tasks.wordnet import STORE, WordNet

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).with_name("tiny_wordnet.xml")

DOG, CAR, CRANE = "n02084071", "n02958343", "n02012849"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> WordNet:
    return WordNet(str(TINY), tmp_path_factory.mktemp("tiny"))


def made(root: Path, lemmas: dict[str, list[str]], prefix: str = "made-") -> WordNet:
    """A lexicon of synsets by id, less ``prefix`` and ``-n``, with their lemmas.

    A synset's definition is all its lemmas.
    """
    words = sorted({word for found in lemmas.values() for word in found})
    entries = "".join(
        f'<LexicalEntry id="e{at}"><Lemma writtenForm="{word}" partOfSpeech="n"/>'
        + "".join(
            f'<Sense id="e{at}-{key}" synset="{prefix}{key}-n"/>'
            for key, found in lemmas.items()
            if word in found
        )
        + "</LexicalEntry>"
        for at, word in enumerate(words)
    )
    synsets = "".join(
        f'<Synset id="{prefix}{key}-n" ili="" partOfSpeech="n">'
        f"<Definition>{', '.join(found)}</Definition></Synset>"
        for key, found in lemmas.items()
    )
    head, _, rest = TINY.read_text().partition("<LexicalEntry")
    (root / "made.xml").write_text(head + entries + synsets + rest[rest.index("</Lexicon>") :])
    return WordNet("made.xml", root)


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


def test_kinds_come_in_the_order_of_their_ids(tiny: WordNet) -> None:
    """The file has canoe (tiny-16-n) before ferry (tiny-15-n)."""
    assert [word.text for word in tiny.words("n02858304", "boat", 1)] == ["boat", "ferry", "canoe"]


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


def test_a_name_that_means_more_gives_way_to_a_longer_one(tmp_path: Path) -> None:
    """Pirate: pirate ship. But not lion: king of beasts, which does not say lion."""
    ships = {"a": ["pirate", "pirate ship", "raider"], "b": ["pirate"]}
    animals = {"c": ["king of beasts", "lion"], "d": ["lion"], "e": ["tench", "tench fish"]}
    lexicon = made(tmp_path, ships | animals)
    assert lexicon.words("made-a-n", "pirate", 1)[0].text == "pirate ship"
    assert lexicon.words("made-a-n", "a ship", 1)[0].text == "raider"
    assert [word.text for word in lexicon.words("made-c-n", "lion", 1)] == [
        "lion",
        "king of beasts",
    ]
    assert lexicon.words("made-e-n", "tench", 1)[0].text == "tench"


def test_a_class_that_goes_by_no_lemma_is_not_called_by_a_stop_word(tmp_path: Path) -> None:
    """Unless that is all it has, or its own name."""
    lexicon = made(tmp_path, {"a": ["king of beasts", "lion"], "b": ["lion"], "c": ["jak"]})
    for key, name, stop, plain in (
        ("a", "a class", "", "king of beasts"),
        ("a", "a class", "king of beast", "lion"),
        ("a", "king of beasts", "king of beast", "king of beasts"),
        ("c", "a class", "jak", "jak"),
    ):
        assert lexicon.words(f"made-{key}-n", name, 1, frozenset({stop}))[0].text == plain


def test_synonyms_that_a_definition_calls_offensive_are_left_out(tmp_path: Path) -> None:
    lexicon = made(tmp_path, {"a": ["fellow", "disparaging word"], "b": ["chap", "bloke"]})
    assert [word.text for word in lexicon.words("made-a-n", "fellow", 1)] == ["fellow"]
    assert [word.text for word in lexicon.words("made-b-n", "chap", 1)] == ["chap", "bloke"]


def test_a_kind_with_none_but_latin_names_is_left_out(tmp_path: Path) -> None:
    """A class keeps one to be called by, and no other."""
    lexicon = made(tmp_path, {"a": ["Boletus edulis", "Boletus roxanae"], "b": ["roxanae"]})
    assert [word.text for word in lexicon.words("made-a-n", "", 1)] == ["Boletus edulis"]


def test_ids_of_the_open_multilingual_wordnet_are_those_of_wordnet_30(tmp_path: Path) -> None:
    """But for omw-en31, which has the offsets of WordNet 3.1."""
    dog = {"02084071": ["dog"]}
    for prefix, known in (("omw-en-", True), ("omw-fr-", True), ("omw-en31-", False)):
        (tmp_path / prefix).mkdir()
        lexicon = made(tmp_path / prefix, dog, prefix)
        assert (lexicon.sense(DOG) == Sense(DOG, "dog")) is known
        assert lexicon.title == (
            "the lexicon made.xml" + ("" if known else " (it has no WordNet 3.0 ids)")
        )


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


def test_two_processes_may_make_the_database_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one takes what the first has made."""
    write_index = wordnet._write_index

    def overtaken(lexicon: wn.Wordnet, path: Path) -> None:
        write_index(lexicon, path)
        first = path.parent.with_name(path.parent.name.partition(".")[0])
        shutil.copytree(path.parent, first)

    monkeypatch.setattr(wordnet, "_write_index", overtaken)
    assert WordNet(str(TINY), tmp_path).sense(DOG) is not None
    (folder,) = (tmp_path / STORE).iterdir()
    assert (folder / "wn.db").is_file() and "." not in folder.name


def test_what_a_killed_process_has_left_is_removed(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from tasks.durable import partial_name; "
        f"path = partial_name(Path({str(tmp_path / STORE)!r}) / 'abc'); path.mkdir(parents=True); "
        "(path / 'wn.db').touch()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    (left,) = (tmp_path / STORE).iterdir()
    WordNet(str(TINY), tmp_path)
    assert not left.exists() and len(list((tmp_path / STORE).iterdir())) == 1


def test_a_missing_lexicon_comes_with_the_command_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WN_DATA_DIR", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"once with `python -m wn download oewn:2024`, if"):
        WordNet("oewn:2024", tmp_path)
    with pytest.raises(InputError, match=r"`python -m wn download 'my words'`, if"):
        WordNet("my words", tmp_path)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("spec", ["nofile.xml", "lists/oewn", "oewn.xml.xz"])
def test_a_missing_file_is_not_to_be_downloaded(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command gets a lexicon that there is, and the setting names the same one."""
    monkeypatch.setenv("WN_DATA_DIR", str(tmp_path / "nothing"))
    with pytest.raises(InputError) as caught:
        WordNet(spec, tmp_path)
    assert str(caught.value) == (
        f"expand_prompts.lexicon: {tmp_path / spec}: no such file; give the path of a WN-LMF file, "
        "or get WordNet 3.0 once with `python -m wn download omw-en:1.4` and set "
        "`lexicon: wordnet:omw-en:1.4`"
    )
    assert ("omw-en", "1.4") in {(one["id"], one["version"]) for one in wn.projects()}


def test_a_lexicon_that_was_downloaded_goes_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `python -m wn download` leaves: a database in wn's own folder."""
    environment = {**os.environ, "WN_DATA_DIR": str(tmp_path / "wn")}
    (tmp_path / "wn").mkdir()
    code = f"import wn; wn.add({str(TINY)!r}, progress_handler=None)"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    monkeypatch.setenv("WN_DATA_DIR", str(tmp_path / "wn"))

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(os, "fsync", full)
        WordNet("tiny:1", tmp_path)
    assert list((tmp_path / STORE).iterdir()) == []  # no index that is half written
    lexicon = WordNet("tiny:1", tmp_path)
    assert lexicon.words(DOG, "dog", 1)[2] == Word("poodle", "hyponym", 1, "n02113335")
    with pytest.raises(InputError, match="download tiny:2"):
        WordNet("tiny:2", tmp_path)


def test_a_file_that_is_no_wordnet_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "notes.xml").write_text("<notes/>")
    with pytest.raises(InputError, match=r"notes\.xml cannot be read as WN-LMF"):
        WordNet("notes.xml", tmp_path)
    assert list((tmp_path / STORE).iterdir()) == []
