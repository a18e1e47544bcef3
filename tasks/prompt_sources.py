"""What prompts are drawn from: for each class its words, the classes beside it, and its captions.

All of it is made so that growth keeps rows (`tasks.prompts`): a class appended to the list changes
what is its own, never what an earlier class draws from.
"""

from bisect import bisect
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Generic, TypeVar

from tasks.captions import (
    AMBIGUOUS,
    Caption,
    Claims,
    claim_table,
    find_claims,
    find_mentions,
    phrase_table,
    read_captions,
    replace_mentions,
)
from tasks.english import normalise
from tasks.lexicon import Entry, Word, look_up_all
from tasks.params import RELATIONS, ExpandPrompts, InputError, Relation
from tasks.templates import DEFAULT, Template, fill, parse

T = TypeVar("T")
_PLACE = "thing"
"""Stands for any word when the patterns of captions and templates are compared."""


@dataclass(frozen=True)
class Weighted(Generic[T]):
    """Things to draw from, with cumulative weights."""

    items: tuple[T, ...]
    cumulative: tuple[float, ...]

    @classmethod
    def of(cls, weights: Mapping[T, float]) -> "Weighted[T]":
        """The things with their weights."""
        return cls(tuple(weights), tuple(accumulate(weights.values())))

    def draw(self, rng: Random) -> T:
        """One of them, as often as its weight says."""
        place = rng.random() * self.cumulative[-1]
        return self.items[bisect(self.cumulative, place, hi=len(self.items) - 1)]


@dataclass(frozen=True)
class Source:
    """What the prompts of one class are drawn from.

    Attributes:
        words: by relation; a relation that the class has no words of is missing.
        partners: the classes that may be drawn to stand beside it, all before it in the list; those
            that always stand there are none.
        captions: those that mention it by any of its words, whoever else they mention.
        owned: ids of those that are its own: they mention no class behind it in the list.
    """

    entry: Entry
    words: dict[Relation, Weighted[Word]]
    partners: Weighted[str]
    captions: tuple[Caption, ...]
    owned: frozenset[str]

    def beside(self, relation: Relation, own: bool) -> Weighted[Word]:
        """The words for this class in another's prompt: plain ones where it has no others.

        Args:
            own: look at the words alone that no other class takes.
        """
        words = self.words.get(relation, self.words["plain"])
        lost = own and all(word.text in self.entry.taken for word in words.items)
        return self.words["plain"] if lost else words


@dataclass(frozen=True)
class Plan:
    """Everything that prompts are made from, by class in label order."""

    section: ExpandPrompts
    templates: tuple[Template, ...]
    places: dict[str, Template]
    sources: dict[str, Source]


def prepare(section: ExpandPrompts, root: Path = Path()) -> Plan:
    """Read the lexicon and the captions.

    Raises:
        InputError: a class has no words or no clear sense, ``pairs``, ``always`` or ``places``
            names an unknown class, a template or place names a class, or the captions cannot be
            read or mention no class.
    """
    entries = look_up_all(section, root)
    order = {entry.name: number for number, entry in enumerate(entries)}
    for pair in () if isinstance(section.pairs, str) else section.pairs:
        for name in pair:
            if name not in order:
                raise InputError(
                    f"expand_prompts.pairs: {name!r} in [{', '.join(pair)}] is no class; name one "
                    "of expand_prompts.classes, or drop the pair"
                )
    for key, names in (("always", section.always), ("places", section.places)):
        for name in names:
            if name not in order:
                raise InputError(
                    f"expand_prompts.{key}: {name!r} is no class; name some of "
                    "expand_prompts.classes"
                )
    texts = DEFAULT if section.templates == "default" else section.templates
    templates = tuple(parse(text) for text in texts)
    known = claim_table(entries)
    _refuse_class_words("templates", texts, known)
    _refuse_class_words("places", section.places.values(), known)
    claims = _read_claims(section, entries, known, root)
    together = Counter(
        (one, other)
        for _, names in claims
        for one in names
        for other in names
        if order[other] < order[one]
    )
    most = section.max_classes + len(section.always)
    patterns = _patterns(templates, most) if claims else frozenset()
    sources = {}
    for entry in entries:
        mine = [caption for caption, names in claims if entry.name in names]
        sources[entry.name] = Source(
            entry=entry,
            words=_weigh(entry, section.depth_weight),
            partners=Weighted.of(_partners(entry.name, list(order), section, together)),
            captions=tuple(mine),
            owned=frozenset(
                caption.id for caption in mine if _owner(caption, order, patterns) == entry.name
            ),
        )
    places = {name: parse(text) for name, text in section.places.items()}
    return Plan(section, templates, places, sources)


def _refuse_class_words(key: str, templates: Collection[str], known: Claims) -> None:
    """Refuse templates with a word for a class: the row would not mark it, its masks would err."""
    problems = []
    for text in templates:
        named = {name for part in text.split("{}") for name in find_claims(part, known)}
        if named:
            classes = ", ".join(repr(name) for name in sorted(named))
            problems.append(f"{text!r} has a word for {classes}")
    if problems:
        raise InputError(
            f"expand_prompts.{key}: {len(problems)} of {len(templates)} name a class beside "
            f"their {{}}, where nothing marks it, such as {problems[0]}; say it in other words, or "
            "give templates of your own"
        )


def _read_claims(
    section: ExpandPrompts, entries: list[Entry], known: Claims, root: Path
) -> list[tuple[Caption, set[str]]]:
    """The captions that mention a class, and the classes that know a word of each."""
    if section.captions == "none":
        return []
    sentences = read_captions(root / section.captions)
    phrases = phrase_table(entries, section.stop_words)
    claims = []
    for key, text in sentences:
        if names := find_claims(text, known):
            claims.append((Caption(key, text, find_mentions(text, phrases)), names))
    if not claims:
        raise InputError(
            f"expand_prompts.captions: {section.captions}: none of its {len(sentences)} sentences "
            "mentions a class; give sentences about the classes, or give these more phrases"
        )
    return claims


def _weigh(entry: Entry, depth_weight: float) -> dict[Relation, Weighted[Word]]:
    weighed = {}
    for relation in RELATIONS:
        if words := entry.of(relation):
            weights = {word: depth_weight**word.depth for word in words}
            weighed[relation] = Weighted.of(weights)
    return weighed


def _partners(
    name: str, names: list[str], section: ExpandPrompts, together: Mapping[tuple[str, str], int]
) -> dict[str, float]:
    """The classes before ``name`` that may stand beside it, with weights."""
    before = [other for other in names[: names.index(name)] if other not in section.always]
    if section.pairs == "any":
        return dict.fromkeys(before, 1.0)
    if section.pairs == "captions":
        return {other: together[name, other] for other in before if (name, other) in together}
    return {other: 1.0 for other in before if {(name, other), (other, name)} & set(section.pairs)}


def _owner(caption: Caption, order: Mapping[str, int], patterns: frozenset[str]) -> str | None:
    """The class whose prompts a caption makes: the last in the list that it mentions.

    None for a caption with a word that is unclear, or one that says what a template says.
    """
    names = caption.names
    if not names or AMBIGUOUS in names:
        return None
    pattern, _ = replace_mentions(caption, dict.fromkeys(names, _PLACE))
    return None if normalise(pattern) in patterns else max(names, key=order.__getitem__)


def _patterns(templates: tuple[Template, ...], most: int) -> frozenset[str]:
    """What the templates say, in normal form, with any words in one to ``most`` places."""
    return frozenset(
        normalise(fill(template, [_PLACE] * count)[0])
        for template in templates
        for count in range(1, most + 1)
    )
