"""A WordNet as lexicon, through the library ``wn``: a local WN-LMF file, or one already downloaded.

A file is turned into a database under ``.maskloom/wordnet``, once for each content; nothing is
written elsewhere and nothing is fetched. Synsets go by their WordNet 3.0 ids where the lexicon
records them (``dc:identifier``, or the Open Multilingual Wordnet's own ids), else by its own.
"""

import hashlib
import json
import logging
import os
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import wn
from wn.util import ProgressHandler

from tasks.durable import new_file, partial_name, remove_abandoned
from tasks.english import normalise
from tasks.lexicon import Sense, Word
from tasks.params import InputError, Relation
from tasks.progress import Advance, progress

logging.getLogger("wn").setLevel(logging.WARNING)  # it names its database at every step

STORE = Path(".maskloom/wordnet")
INDEX = "index2.json"
"""What is found out about a lexicon once; another name whenever more is."""
NOUN = "n"

_FILE = re.compile(r"[/\\]|\.(xml|xz|gz|zip|tar|tgz|lmf)$", re.I)
"""A lexicon that is meant as a file."""
_WN30 = re.compile(r"omw-[a-z-]+-(\d{8})-n")
"""The Open Multilingual Wordnet's ids have WordNet 3.0's offsets; not so ``omw-en31-...``."""
_LATIN = re.compile(r"([A-Z][a-z]+)(?: [a-z-]+)* ([a-z-]+)")

_OFFENSIVE = re.compile(
    r"\b(slurs?|disparaging|derogatory|offensive|obscene|vulgar|contempt\w*|insult\w*)\b", re.I
)


class WordNet:
    """A WordNet's nouns.

    A synonym or hyponym is used only where the word means nothing else: a convertible is a car and
    a sofa, so it stands for neither. Latin names and words whose definition calls them offensive
    are left out; a class that has none but Latin names keeps one to be called by.

    Args:
        spec: the path of a WN-LMF file, or a lexicon that ``wn`` has, such as oewn:2024.
        root: the repository root.

    Raises:
        InputError: there is neither, or the file is no WN-LMF.
    """

    def __init__(self, spec: str, root: Path) -> None:
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
            index = root / STORE / f"{lexicon.id}-{lexicon.version}-{INDEX}"
        if not index.exists():
            _write_index(self._nouns, index)
        found = json.loads(index.read_text(encoding="utf-8"))
        self._own_id: dict[str, str] = found["wn30"]
        self._genera = frozenset(found["genera"])
        self.title = f"the lexicon {spec}"
        if not self._own_id:
            self.title += " (it has no WordNet 3.0 ids)"
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

    def words(
        self, synset: str, name: str, depth: int, stop: frozenset[str] = frozenset()
    ) -> list[Word]:
        """The class's name, then synonyms and hyponyms that mean nothing else."""
        top = self._synset(synset)
        plain = self._plain(top, name, stop)
        words = [Word(plain, "plain", 0, self._id(top))]
        seen = {normalise(plain)}

        def add(synset: Any, relation: Relation, level: int) -> None:
            if _OFFENSIVE.search(synset.definition() or ""):
                return
            for text in self._lemmas(synset):
                if normalise(text) not in seen and self._means_only(text, synset):
                    seen.add(normalise(text))
                    words.append(Word(text, relation, level, self._id(synset)))

        add(top, "synonym", 0)
        for one, level in self._below(top, depth):
            add(one, "hyponym", level)
        return words

    def _plain(self, top: Any, name: str, stop: frozenset[str]) -> str:
        """What a class is plainly called.

        Its name in the parameters, if the synset has that lemma; where it means something else
        too, a longer lemma around it that does not, if there is one (pirate: pirate ship). Of a
        class that goes by no lemma, the shortest lemma that means nothing else. What has to be
        chosen is no stop word, if there is another.
        """
        every = self._lemmas(top) or sorted(top.lemmas())
        own = next((one for one in every if one.lower() == name.lower()), None)
        lemmas = [one for one in every if normalise(one) not in stop] or every
        clear = [one for one in lemmas if self._means_only(one, top)]
        if own is None:
            fitting = clear or lemmas
        elif self._means_only(own, top):
            return own
        else:
            parts = set(normalise(own).split())
            fitting = [one for one in clear if parts < set(normalise(one).split())] or [own]
        return min(fitting, key=lambda one: (one.count(" "), len(one), one))

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
        return [one for one in lemmas if "." not in one and not self._latin(one, lemmas)]

    def _latin(self, lemma: str, lemmas: list[str]) -> bool:
        """Whether a lemma is a name such as Felis catus: it begins with a genus.

        The only species of a genus can be called by its epithet: Orcinus orca, or orca.
        """
        parts = _LATIN.fullmatch(lemma)
        if parts is None:
            return False
        return parts[1] in self._genera or (parts[2] in lemmas and not self._is_noun(parts[1]))

    def _is_noun(self, text: str) -> bool:
        return any(word.lemma() == text for word in self._wn.words(text, pos=NOUN))

    def _means_only(self, text: str, synset: Any) -> bool:
        if text not in self._meanings:
            found = self._wn.synsets(text, pos=NOUN)
            self._meanings[text] = frozenset(one.id for one in found)
        return self._meanings[text] <= {synset.id}

    def _synset(self, key: str) -> Any:
        return self._wn.synset(self._own_id.get(key, key))

    def _id(self, synset: Any) -> str:
        return str(self._wn30.get(synset.id, synset.id))

    def _sense(self, synset: Any) -> Sense:
        return Sense(self._id(synset), synset.definition() or "(no definition)")


def _open(spec: str, path: Path, folder: Path) -> wn.Wordnet:
    """The lexicon in a database; one that was not downloaded is told with the command to get it."""
    where = "expand_prompts.lexicon"
    if _FILE.search(spec):
        missing = InputError(
            f"{where}: {path}: no such file; give the path of a WN-LMF file, or get WordNet 3.0 "
            "once with `python -m wn download omw-en:1.4` and set `lexicon: wordnet:omw-en:1.4`"
        )
    else:
        missing = InputError(
            f"{where}: {spec!r} is neither a file nor a lexicon that wn has; get it once with "
            f"`python -m wn download {shlex.quote(spec)}`, if `python -m wn projects` lists it "
            f"(it comes into {folder}), or get WordNet 3.0 (its licence: "
            "https://wordnet.princeton.edu/license-and-commercial-use) with "
            "`python -m wn download omw-en:1.4` and set `lexicon: wordnet:omw-en:1.4`"
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
    remove_abandoned(folder.parent)
    unfinished = partial_name(folder)
    unfinished.mkdir(parents=True)
    wn.config.data_directory = unfinished
    try:
        with ExitStack() as stack:
            what = f"reading {path.name}"
            # wn asks for a class; it only calls it.
            wn.add(path, progress_handler=lambda **_: _Told(stack, what))  # type: ignore[arg-type]
    except Exception as error:  # whatever the parser makes of a file that is no WN-LMF
        shutil.rmtree(unfinished, ignore_errors=True)
        raise InputError(
            f"expand_prompts.lexicon: {path} cannot be read as WN-LMF: {error}; give the XML file "
            "of a wordnet, also compressed"
        ) from None
    _write_index(wn.Wordnet("*", expand=""), unfinished / INDEX)
    try:
        unfinished.replace(folder)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
        if not (folder / "wn.db").is_file():  # unless another process was as far before
            raise
    return folder


def _write_index(lexicon: wn.Wordnet, path: Path) -> None:
    """WordNet 3.0 id -> the lexicon's own, for all nouns that record one; and the genera."""
    wn30 = {}
    for synset in lexicon.synsets(pos=NOUN):
        identifier = synset.metadata().get("identifier")
        if isinstance(identifier, str) and re.fullmatch(r"n\d{8}", identifier):
            wn30[identifier] = synset.id
        elif offset := _WN30.fullmatch(synset.id):
            wn30[f"n{offset[1]}"] = synset.id
    genera = _genera({word.lemma() for word in lexicon.words(pos=NOUN)})
    with new_file(path) as file:
        file.write(json.dumps({"wn30": wn30, "genera": genera}).encode())


def _genera(lemmas: set[str]) -> list[str]:
    """The first words of Latin names: half or more of them end in no noun of its own.

    Canis is one: Canis lupus (lupus is an illness too) stands beside Canis latrans and Canis
    aureus. Virginia is none: Virginia deer, Virginia pine.
    """
    epithets: Counter[str] = Counter()
    names: Counter[str] = Counter()
    for genus, last in (match.groups() for one in lemmas if (match := _LATIN.fullmatch(one))):
        names[genus] += 1
        epithets[genus] += last not in lemmas or last == genus.lower()
    return sorted(genus for genus, count in names.items() if 2 * epithets[genus] >= count)
