"""Prompts: sentences around the words of classes, and where those words stand.

The places of a class go to its streams (`tasks.prompt_streams`) in turn, by their shares. A row
whose word or caption belongs to another class is withdrawn and counted, and a spare one stands in
its place. So growth keeps rows where they are: a larger budget adds places behind, and a class
appended to the list changes only the places of the rows that it takes, and of spares that had
avoided or now meet the text of another. A row that is no spare never gives way, so it may repeat
an earlier spare's text; that is counted.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path

from tasks.english import normalise
from tasks.params import RELATIONS, ExpandPrompts, InputError
from tasks.prompt_sources import Plan, Source, prepare
from tasks.prompt_streams import Drawn, Key, Row, draw_rows, row_seed

MOST_IN_VAIN = 100_000
"""Draws in a row that belong to other classes before a class is given up."""


@dataclass
class Tally:
    """What became of one class.

    Attributes:
        repeats: rows whose text an earlier row of the class has, with another seed.
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
    """The rows of a class's stream, and the spares for the places of those that it loses."""

    def __init__(self, plan: Plan, source: Source, key: Key) -> None:
        self._plan, self._source, self._key = plan, source, key
        self._draw = draw_rows(plan, source, key, spare=False)
        self._draw_spare = draw_rows(plan, source, spare_key(source, key), spare=True)
        self._number = -1

    def next(self) -> Drawn:
        """The next row, whether or not it is the class's own."""
        self._number += 1
        return self._draw(row_seed(self._plan, self._source, self._key, self._number))

    def spare(self, given: AbstractSet[str]) -> Drawn:
        """A row of the class's own for the place of the last one, its text not given if possible.

        Raises:
            InputError: `MOST_IN_VAIN` rows one after the other belong to other classes.
        """
        in_vain = 0
        for attempt in count():
            seed = row_seed(self._plan, self._source, self._key, self._number, attempt)
            drawn = self._draw_spare(seed)
            if drawn.mine and (drawn.repeated or drawn.text_key not in given):
                break
            in_vain = 0 if drawn.mine else in_vain + 1
            if in_vain == MOST_IN_VAIN:
                raise InputError(
                    f"expand_prompts: {MOST_IN_VAIN} prompts of class {self._source.entry.name!r} "
                    "in a row name words of other classes: give it more words of its own, or raise "
                    "depth_weight"
                )
        return drawn


def interleave(shares: Mapping[Key, float]) -> Iterator[Key]:
    """Keys for ever, each beginning of the sequence holding their shares to within one.

    Each place goes to the key that is furthest behind its share.
    """
    taken = dict.fromkeys(shares, 0)
    for place in count(1):
        chosen = max(shares, key=lambda key: shares[key] * place - taken[key])
        taken[chosen] += 1
        yield chosen


def stream_shares(section: ExpandPrompts, source: Source) -> dict[Key, float]:
    """The share of each stream of a class, words and captions that other classes take included.

    What a class lacks goes to what it has: without synonyms to its plain name, without captions to
    the templates. Behind a caption stand plain names alone: any other word may contradict it.
    """
    shares: dict[Key, float] = defaultdict(float)
    for wanted, part in section.sources:
        for relation in RELATIONS:
            share = getattr(section.shares, relation)
            kind = wanted if source.captions else "templates"
            plain = kind == "classes_appended" or relation not in source.words
            key: Key = (kind, "plain" if plain else relation)
            if part * share > 0:
                shares[key] += part * share
    return dict(shares)


def spare_key(source: Source, key: Key) -> Key:
    """Where spares for a stream come from: itself, but for words and captions that are all lost."""
    kind, relation = key
    entry = source.entry
    lost = all(word.text in entry.taken for word in entry.of(relation))
    return kind if source.owned else "templates", "plain" if lost else relation


def class_rows(plan: Plan, name: str, tally: Tally) -> Iterator[Row]:
    """The rows of one class, ``images_per_class`` of them; ``tally`` counts them as they come."""
    section, source = plan.section, plan.sources[name]
    shares = stream_shares(section, source)
    streams = {key: Stream(plan, source, key) for key in shares}
    given: set[str] = set()  # texts, in normal form
    drawn_first: set[str] = set()  # the same as if nothing had been withdrawn
    for key in islice(interleave(shares), section.images_per_class):
        drawn = streams[key].next()
        tally.withdrawn += not drawn.mine
        of_another_stream = drawn.text_key in drawn_first and not drawn.repeated
        drawn_first.add(drawn.text_key)
        if of_another_stream or not drawn.mine:
            drawn = streams[key].spare(given)
        tally.rows += 1
        tally.repeats += drawn.text_key in given
        given.add(drawn.text_key)
        first = drawn.row["classes"][0]
        tally.sources[drawn.row["source"]] += 1
        tally.relations[first["relation"]] += 1
        tally.depths[first["depth"]] += 1
        tally.words.add((name, normalise(first["phrase"])))
        yield drawn.row


def expand(section: ExpandPrompts, root: Path = Path()) -> Iterator[Row]:
    """All rows of ``data/prompts.parquet``, class after class, one at a time.

    Raises:
        InputError: as `prepare`, before the first row.
    """
    plan = prepare(section, root)
    return (row for name in plan.sources for row in class_rows(plan, name, Tally()))
