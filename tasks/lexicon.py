"""What a class can be called: its words with relation, depth and synset, and whose they are.

A lexicon is a source of senses and words (`Lexicon`): the built-in table, or a WordNet. Which sense
of a name is meant is never guessed: it is the only one, or it is pinned in the parameters.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from tasks.english import normalise
from tasks.params import RELATIONS, ClassPhrases, ExpandPrompts, InputError, Relation


@dataclass(frozen=True)
class Word:
    """A word or phrase for a class.

    Attributes:
        text: the word, in the singular.
        relation: the class's own name, another word for the same, or a kind of it.
        depth: levels below the class in the lexicon; 0 for its names and synonyms.
        synset: what the word means, such as n02958343 of WordNet 3.0; "" where nobody said.
    """

    text: str
    relation: Relation
    depth: int
    synset: str


@dataclass(frozen=True)
class Sense:
    """A meaning of a name: its synset and definition."""

    synset: str
    definition: str


@dataclass(frozen=True)
class Entry:
    """The words of one class.

    Attributes:
        name: the class.
        synset: what it means; "" for a class whose words are all given.
        words: all its words, whether or not another class of the set has a better claim.
        kinds: the synsets below the class, at any depth.
        taken: words that are not used because they belong to another class: text -> that class.
        ambiguous: the plain words that the lexicon knows to mean something else as well.
    """

    name: str
    synset: str
    words: tuple[Word, ...]
    kinds: frozenset[str] = frozenset()
    taken: Mapping[str, str] = field(default_factory=dict)
    ambiguous: tuple[str, ...] = ()

    def of(self, relation: Relation) -> tuple[Word, ...]:
        """The words of a relation, taken ones included."""
        return tuple(word for word in self.words if word.relation == relation)


class Lexicon(Protocol):
    """A source of words."""

    @property
    def title(self) -> str:
        """How messages call it."""

    def senses(self, name: str) -> list[Sense]:
        """What a name can mean; none where it is unknown."""

    def sense(self, synset: str) -> Sense | None:
        """A synset by its id; None where it is unknown."""

    def words(
        self, synset: str, name: str, depth: int, stop: frozenset[str] = frozenset()
    ) -> list[Word]:
        """The words of a synset whose class is called ``name``, hyponyms down to ``depth``.

        Where it has to choose what a class is plainly called, it chooses no word of ``stop``, which
        are in normal form; they are not left out otherwise.
        """

    def kinds(self, synset: str) -> frozenset[str]:
        """The synsets below a synset, at any depth."""


def open_lexicon(spec: str, root: Path) -> Lexicon:
    """The lexicon that ``expand_prompts.lexicon`` names.

    Raises:
        InputError: it is missing or damaged.
    """
    if spec == "builtin":
        from tasks.builtin_lexicon import BuiltinLexicon

        return BuiltinLexicon()
    from tasks.wordnet import WordNet  # brings a database along, and only needed here

    return WordNet(spec.partition(":")[2], root)


def look_up(item: ClassPhrases, lexicon: Lexicon, depth: int, stop: Iterable[str]) -> Entry:
    """The words of a class: what the parameters give, else what the lexicon knows.

    Raises:
        InputError: the class has no phrase, or one that is a stop word, or its name means several
            things and none is pinned.
    """
    synset = _pin(item, lexicon)
    stopped = frozenset(normalise(word) for word in stop)
    known = lexicon.words(synset, item.name, depth, stopped) if synset else []
    by_text = {(word.relation, normalise(word.text)): word for word in known}
    chosen: list[Word] = []
    given = {"plain": item.phrases, "synonym": item.synonyms, "hyponym": item.hyponyms}
    for relation in RELATIONS:
        texts = given[relation]
        if texts is None:
            part = [word for word in known if word.relation == relation]
        else:
            kind = relation == "hyponym"
            unknown = Word("", relation, int(kind), "" if kind else synset)
            part = [
                replace(by_text.get((relation, normalise(text)), unknown), text=text.strip())
                for text in texts
                if text.strip()
            ]
        chosen += [
            word for word in part if relation == "plain" or normalise(word.text) not in stopped
        ]
    plain = [word.text for word in chosen if word.relation == "plain"]
    for text in plain:
        if normalise(text) in stopped:
            raise InputError(
                f"expand_prompts.stop_words: {text!r} is what class {item.name!r} is plainly "
                "called: take it out there, or give the class another phrase, "
                f"{{name: {item.name}, phrases: [...]}}"
            )
    distinct = {normalise(word.text): word for word in reversed(chosen)}  # the first one stays
    words = tuple(word for word in chosen if distinct[normalise(word.text)] is word)
    kinds = lexicon.kinds(synset) if synset else frozenset()
    meant = {text: {sense.synset for sense in lexicon.senses(text)} for text in plain}
    ambiguous = (
        text
        for text, senses in meant.items()
        if (senses - kinds - {synset} if synset else len(senses) > 1)
    )
    return Entry(item.name, synset, words, kinds, ambiguous=tuple(ambiguous))


def _pin(item: ClassPhrases, lexicon: Lexicon) -> str:
    """The synset that a class means; "" where all its words are given and no sense is."""
    where = f"expand_prompts.classes: class {item.name!r}"
    senses = lexicon.senses(item.name)
    if item.sense is not None:
        if lexicon.sense(item.sense) is None:
            raise InputError(
                f"{where}: {lexicon.title} does not know the sense {item.sense}"
                + _candidates(senses, f"; of {item.name!r} it knows")
            )
        return item.sense
    if item.phrases is not None and (
        not senses or (item.synonyms is not None and item.hyponyms is not None)
    ):
        return senses[0].synset if len(senses) == 1 else ""
    if not senses:
        raise InputError(
            f"{where} has no phrase: {lexicon.title} does not know it; write "
            f"{{name: {item.name}, phrases: [...]}}, or pin a sense it knows with "
            f"{{name: {item.name}, sense: n...}}"
        )
    if len(senses) > 1:
        raise InputError(
            f"{where} can mean several things; pin one, such as "
            f"{{name: {item.name}, sense: {senses[0].synset}}}"
            + _candidates(senses, f"; {lexicon.title} knows")
        )
    return senses[0].synset


def _candidates(senses: list[Sense], heading: str) -> str:
    return (
        "".join([heading, *(f"\n    {one.synset}  {one.definition}" for one in senses)])
        if senses
        else ""
    )


def look_up_all(section: ExpandPrompts, root: Path = Path()) -> list[Entry]:
    """All classes' words, each with the words of it that other classes take.

    Raises:
        InputError: a class has no phrase or no clear sense, or two share a phrase or a sense; all
            are listed.
    """
    lexicon = open_lexicon(section.lexicon, root)
    entries, problems = [], []
    for item in section.classes:
        try:
            entries.append(look_up(item, lexicon, section.hyponym_depth, section.stop_words))
        except InputError as error:
            problems.append(str(error))
    owner: dict[str, str] = {}
    for entry in entries:
        for word in entry.of("plain"):
            other = owner.setdefault(normalise(word.text), entry.name)
            if other != entry.name:
                problems.append(
                    f"expand_prompts.classes: the phrase {word.text!r} names both {other!r} and "
                    f"{entry.name!r}; its masks would be labelled wrongly: give one of them other "
                    f"phrases, {{name: {entry.name}, phrases: [...]}}"
                )
    meant: dict[str, str] = {}
    for entry in entries:
        other = meant.setdefault(entry.synset, entry.name) if entry.synset else entry.name
        if other != entry.name:
            problems.append(
                f"expand_prompts.classes: {other!r} and {entry.name!r} both mean {entry.synset}; a "
                "pixel has one label: drop one of them, or pin another sense, "
                f"{{name: {entry.name}, sense: n...}}"
            )
    if problems:
        raise InputError("\n".join(problems))
    return assign(entries)


def assign(entries: list[Entry]) -> list[Entry]:
    """Find the words that belong to another class of the set.

    A hyponym is another class's when it is that class or lies below it, unless that class is the
    wider one of the two: a poodle is a dog's and not an animal's. A text that two classes know goes
    to the one whose own name it is, else to neither.
    """
    users: dict[str, list[tuple[Entry, Word]]] = {}
    holders: dict[str, list[Entry]] = {}
    for entry in entries:
        for word in entry.words:
            users.setdefault(normalise(word.text), []).append((entry, word))
        for synset in {entry.synset, *entry.kinds} - {""}:
            holders.setdefault(synset, []).append(entry)
    result = []
    for entry in entries:
        taken: dict[str, str] = {}
        for word in entry.words:
            if word.relation == "plain":
                continue
            closer = [
                other
                for other in (holders.get(word.synset, []) if word.relation == "hyponym" else [])
                if other is not entry and entry.synset not in other.kinds
            ]
            closer += [
                other
                for other, use in users[normalise(word.text)]
                if other is not entry
                and (use.relation == "plain" or not _above(other, entry, use, word))
            ]
            if closer:
                taken[word.text] = closer[0].name
        result.append(replace(entry, taken=taken))
    return result


def _above(other: Entry, entry: Entry, use: Word, word: Word) -> bool:
    """Whether ``other`` is the wider class and means the same by the word."""
    return entry.synset in other.kinds and use.synset == word.synset
