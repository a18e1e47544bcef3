"""Prompts: sentences around the words of classes, and where those words stand.

A class's rows are taken in turn from its streams (`tasks.prompt_streams`), by their shares. What
belongs to another class is left out and counted as withdrawn. So growth keeps rows, and their order
within a class.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path

from tasks.english import normalise
from tasks.params import ExpandPrompts, InputError
from tasks.prompt_sources import Plan, Source, prepare
from tasks.prompt_streams import Drawn, Key, Row, caption_rows, template_rows

MOST_IN_VAIN = 100_000
"""Draws in a row that belong to other classes before a class is given up."""


@dataclass
class Tally:
    """What became of one class.

    Attributes:
        repeats: rows whose text an earlier row has, with another seed; only where the distinct
            texts are used up.
        withdrawn: rows that the class would have without the classes behind it in the list, but
            whose word or caption belongs to another class of the set.
        words: (class, word in normal form), as the rows' own classes are called.
    """

    rows: int = 0
    repeats: int = 0
    withdrawn: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    relations: Counter[str] = field(default_factory=Counter)
    depths: Counter[int] = field(default_factory=Counter)
    words: set[tuple[str, str]] = field(default_factory=set)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.rows + other.rows,
            self.repeats + other.repeats,
            self.withdrawn + other.withdrawn,
            self.sources + other.sources,
            self.relations + other.relations,
            self.depths + other.depths,
            self.words | other.words,
        )


class Stream:
    """The rows of a class's stream, counting how many of the first ``claimed`` others take."""

    def __init__(self, name: str, rows: Iterator[Drawn], claimed: int) -> None:
        self._name, self._rows, self._left = name, rows, claimed
        self._withdrawn = self._in_vain = 0

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> Drawn:
        drawn = next(self._rows)
        if self._left > 0:
            self._left -= 1
            self._withdrawn += not drawn.mine
        self._in_vain = 0 if drawn.mine else self._in_vain + 1
        if self._in_vain == MOST_IN_VAIN:
            raise InputError(
                f"expand_prompts: {MOST_IN_VAIN} prompts of class {self._name!r} in a row name "
                "words of other classes: give it more words of its own, or raise depth_weight"
            )
        return drawn

    def settle(self) -> int:
        """Draw the rest of the first ``claimed`` rows, and tell the count."""
        while self._left > 0:
            next(self)
        return self._withdrawn


def interleave(shares: Mapping[Key, float]) -> Iterator[Key]:
    """Keys for ever, each beginning of the sequence holding their shares to within one.

    Each place goes to the key that is furthest behind its share.
    """
    taken = dict.fromkeys(shares, 0)
    for place in count(1):
        chosen = max(shares, key=lambda key: shares[key] * place - taken[key])
        taken[chosen] += 1
        yield chosen


def stream_shares(section: ExpandPrompts, source: Source, claimed: bool) -> dict[Key, float]:
    """The share of each stream of a class.

    What a class lacks goes to what it has: without synonyms to its plain name, without captions to
    the templates.

    Args:
        claimed: count the words and captions too that other classes take from it.
    """
    entry = source.entry
    usable = {word.relation for word in entry.words if claimed or word.text not in entry.taken}
    captioned = source.captions if claimed else source.owned
    shares: dict[Key, float] = defaultdict(float)
    for kind, part in section.sources:
        for relation, share in section.shares:
            key = (
                kind if captioned or kind == "templates" else "templates",
                relation if relation in usable else "plain",
            )
            if part * share > 0:
                shares[key] += part * share
    return dict(shares)


def class_rows(plan: Plan, name: str, tally: Tally) -> Iterator[Row]:
    """The rows of one class, ``images_per_class`` of them; ``tally`` counts them as they come."""
    section, source = plan.section, plan.sources[name]
    wanted = section.images_per_class
    claims = Counter(islice(interleave(stream_shares(section, source, claimed=True)), wanted))
    shares = stream_shares(section, source, claimed=False)
    streams = {
        key: Stream(
            name,
            template_rows(plan, source, key[1])
            if key[0] == "templates"
            else caption_rows(plan, source, key),
            claims[key],
        )
        for key in {**claims, **shares}
    }
    given: set[str] = set()
    for key in islice(interleave(shares), wanted):
        drawn = next(
            drawn
            for drawn in streams[key]
            if drawn.mine and (drawn.repeated or drawn.text_key not in given)
        )
        given.add(drawn.text_key)
        first = drawn.row["classes"][0]
        tally.rows += 1
        tally.repeats += drawn.repeated
        tally.sources[drawn.row["source"]] += 1
        tally.relations[first["relation"]] += 1
        tally.depths[first["depth"]] += 1
        tally.words.add((name, normalise(first["phrase"])))
        yield drawn.row
    tally.withdrawn = sum(stream.settle() for stream in streams.values())


def expand(section: ExpandPrompts, root: Path = Path()) -> Iterator[Row]:
    """All rows of ``data/prompts.parquet``, class after class, one at a time.

    Raises:
        InputError: as `prepare`, before the first row.
    """
    plan = prepare(section, root)
    return (row for name in plan.sources for row in class_rows(plan, name, Tally()))
