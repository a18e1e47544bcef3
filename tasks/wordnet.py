"""A WordNet as lexicon, through the library ``wn``: a local WN-LMF file, or one already downloaded.

A file is turned into a database under ``.maskloom/wordnet``, once for each content; nothing is
written elsewhere and nothing is fetched. Synsets go by their WordNet 3.0 ids where the lexicon
records them (``dc:identifier``), else by its own.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import wn
from wn.util import ProgressHandler

from tasks.english import normalise
from tasks.lexicon import Relation, Sense, Word
from tasks.params import InputError
from tasks.progress import Advance, progress

logging.getLogger("wn").setLevel(logging.WARNING)  # it names its database at every step

STORE = Path(".maskloom/wordnet")
INDEX = "index.json"
NOUN = "n"

_OFFENSIVE = re.compile(
    r"\b(slurs?|disparaging|derogatory|offensive|obscene|vulgar|contempt\w*|insult\w*)\b", re.I
)


class WordNet:
    """A WordNet's nouns.

    A synonym or hyponym is used only where the word means nothing else: a convertible is a car and
    a sofa, so it stands for neither. Latin names and words whose definition calls them offensive
    are left out.

    Args:
        spec: the path of a WN-LMF file, or a lexicon that ``wn`` has, such as oewn:2024.
        root: the repository root.

    Raises:
        InputError: there is neither, or the file is no WN-LMF.
    """

    def __init__(self, spec: str, root: Path) -> None:
        self.title = f"the lexicon {spec}"
        path = root / spec
        if path.is_file():
            self._folder = _build(path, root)
        else:
            self._folder = Path(os.environ.get("WN_DATA_DIR") or Path.home() / ".wn_data")
        wn.config.data_directory = self._folder
        self._nouns = _open(spec, path, self._folder)
        index = self._folder / INDEX
        if not path.is_file():  # that folder is the user's
            (lexicon,) = self._nouns.lexicons()
            index = root / STORE / f"{lexicon.id}-{lexicon.version}.json"
        if not index.exists():
            _write_index(self._nouns, index)
        self._own_id: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))
        self._wn30 = {own: wn30 for wn30, own in self._own_id.items()}
        self._meanings: dict[str, frozenset[str]] = {}

    @property
    def _wn(self) -> wn.Wordnet:
        """The lexicon; ``wn`` looks in one database at a time, so it is told which."""
        wn.config.data_directory = self._folder
        return self._nouns

    def senses(self, name: str) -> list[Sense]:
        """What a noun can mean, in the order of the ids."""
        found = self._wn.synsets(name, pos=NOUN)
        return sorted((self._sense(one) for one in found), key=lambda sense: sense.synset)

    def sense(self, synset: str) -> Sense | None:
        """A synset by its WordNet 3.0 id or the lexicon's own."""
        try:
            return self._sense(self._synset(synset))
        except wn.Error:
            return None

    def words(self, synset: str, name: str, depth: int) -> list[Word]:
        """The class's own name, then synonyms and hyponyms that mean nothing else.

        The name is the one that the class has in the parameters, if the synset has that lemma;
        else the lemma that means nothing else and is the shortest.
        """
        top = self._synset(synset)
        key = self._id(top)
        inside = {top.id}
        lemmas = self._lemmas(top)
        plain = next((one for one in lemmas if one.lower() == name.lower()), None)
        if plain is None:
            clear = [one for one in lemmas if self._means_only(one, inside)]
            plain = min(clear or lemmas, key=lambda one: (one.count(" "), len(one), one))
        words = [Word(plain, "plain", 0, key)]
        seen = {normalise(plain)}

        def add(synset: Any, relation: Relation, level: int) -> None:
            for text in self._lemmas(synset):
                if normalise(text) not in seen and self._means_only(text, {synset.id}):
                    seen.add(normalise(text))
                    words.append(Word(text, relation, level, self._id(synset)))

        add(top, "synonym", 0)
        for one, level in self._below(top, depth):
            if not _OFFENSIVE.search(one.definition() or ""):
                add(one, "hyponym", level)
        return words

    def kinds(self, synset: str) -> frozenset[str]:
        """The synsets below a synset, at any depth."""
        return frozenset(self._id(one) for one, _ in self._below(self._synset(synset), None))

    def _below(self, top: Any, depth: int | None) -> Iterator[tuple[Any, int]]:
        """Hyponyms level by level, each once, at its least depth, in the order of their ids."""
        seen, level, layer = {top.id}, 0, [top]
        while layer and (depth is None or level < depth):
            level += 1
            found = {low.id: low for high in layer for low in high.hyponyms()}
            layer = [found[key] for key in sorted(found) if key not in seen]
            seen |= set(found)
            yield from ((one, level) for one in layer)

    def _lemmas(self, synset: Any) -> list[str]:
        """The synset's lemmas, in alphabetical order, but for Latin names and abbreviations."""
        lemmas = sorted(synset.lemmas())
        return [one for one in lemmas if "." not in one and not self._latin(one)] or lemmas

    def _latin(self, lemma: str) -> bool:
        """Whether a lemma is a name such as Felis catus: its last word is no noun of its own."""
        parts = lemma.split()
        if len(parts) < 2 or not lemma[0].isupper() or not parts[-1].islower():
            return False
        return not any(word.lemma() == parts[-1] for word in self._wn.words(parts[-1], pos=NOUN))

    def _means_only(self, text: str, synsets: set[str]) -> bool:
        if text not in self._meanings:
            found = self._wn.synsets(text, pos=NOUN)
            self._meanings[text] = frozenset(one.id for one in found)
        return self._meanings[text] <= synsets

    def _synset(self, key: str) -> Any:
        return self._wn.synset(self._own_id.get(key, key))

    def _id(self, synset: Any) -> str:
        return self._wn30.get(synset.id, synset.id)

    def _sense(self, synset: Any) -> Sense:
        return Sense(self._id(synset), synset.definition() or "(no definition)")


def _open(spec: str, path: Path, folder: Path) -> wn.Wordnet:
    """The lexicon in a database; one that was not downloaded is told with the command to get it."""
    missing = InputError(
        f"expand_prompts.lexicon: {path} is no file and {spec!r} is no lexicon that wn has; give "
        f"the path of a WN-LMF file, or get the lexicon once with `python -m wn download {spec}` "
        "(`python -m wn projects` lists them)"
    )
    if not (folder / "wn.db").is_file():  # opening would create it
        raise missing
    try:
        return wn.Wordnet("*" if path.is_file() else spec, expand="")
    except wn.Error:
        raise missing from None


class _Told(ProgressHandler):
    """Shows how far `wn` is with a file, from the moment it knows how many records there are."""

    def __init__(self, stack: ExitStack, what: str) -> None:
        super().__init__()
        self._stack, self._what = stack, what
        self._advance: Advance | None = None

    def set(self, **kwargs: Any) -> None:
        if kwargs.get("total"):
            bar = progress(self._what, kwargs["total"], "records")
            self._advance = self._stack.enter_context(bar)

    def update(self, n: int = 1, force: bool = False) -> None:
        if self._advance is not None:
            self._advance(n)


def _build(path: Path, root: Path) -> Path:
    """The folder of a file's database, made if this content was never seen; tells how far it is."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    folder = root / STORE / digest
    if (folder / "wn.db").is_file():
        return folder
    unfinished = folder.with_name(f"{digest}.{os.getpid()}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    wn.config.data_directory = unfinished
    try:
        with ExitStack() as stack:
            what = f"reading {path.name}"
            wn.add(path, progress_handler=lambda **_: _Told(stack, what))  # type: ignore[arg-type]
    except Exception as error:  # whatever the parser makes of a file that is no WN-LMF
        shutil.rmtree(unfinished, ignore_errors=True)
        raise InputError(
            f"expand_prompts.lexicon: {path} cannot be read as WN-LMF: {error}; give the XML file "
            "of a wordnet, also compressed"
        ) from None
    _write_index(wn.Wordnet("*", expand=""), unfinished / INDEX)
    unfinished.replace(folder)
    return folder


def _write_index(lexicon: wn.Wordnet, path: Path) -> None:
    """WordNet 3.0 id -> the lexicon's own, for all nouns that record one."""
    index = {}
    for synset in lexicon.synsets(pos=NOUN):
        identifier = synset.metadata().get("identifier")
        if isinstance(identifier, str) and re.fullmatch(r"n\d{8}", identifier):
            index[identifier] = synset.id
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(index), encoding="utf-8")
