"""Streams of prompts: for each class, source and relation a row after the other, for ever.

Every row is drawn by a generator seeded by the class, the stream and the row's number alone, and
looks at nothing that a larger budget or an appended class would change. A row that another class
has the better claim to is drawn all the same, and marked; a row from the stream's spares, which are
seeded by the place that they fill, stands in for it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, product
from random import Random  # its random() is the same in every version of Python; NumPy's is not
from typing import Any

from tasks import records
from tasks.captions import Caption, append_classes, replace_mentions
from tasks.english import normalise
from tasks.lexicon import Word
from tasks.params import Relation
from tasks.prompt_sources import Plan, Source
from tasks.templates import Filled, Template, fill, placed

FORMAT = 2
"""Raised when the same parameters begin to give other rows."""
TRIES = 8
"""Draws of a row before the texts that are left are gone through one by one."""

Row = dict[str, Any]
Key = tuple[str, Relation]
"""Source and relation of a stream."""
Named = list[tuple[str, Word]]
"""The classes that a prompt names and the word for each; the row's own class first."""


@dataclass(frozen=True)
class Drawn:
    """A row of a stream.

    Attributes:
        mine: no word or caption in it belongs to another class.
        repeated: its text was drawn before, as all texts of the stream were.
    """

    row: Row
    text_key: str
    mine: bool
    repeated: bool


Draw = Callable[[int], Drawn]
"""The row of a seed, with a text that was not drawn before while there is one left."""


def draw_named(
    plan: Plan, names: Sequence[str], own: Named, relation: Relation, rng: Random, spare: bool
) -> Named:
    """A word for each class beside the row's own, of the same relation where the class has one."""
    return own + [(name, plan.sources[name].beside(relation, spare).draw(rng)) for name in names]


def draw_partners(plan: Plan, source: Source, rng: Random) -> list[str]:
    """The classes drawn to stand beside the row's own: none, or up to ``max_classes - 1``."""
    section, partners = plan.section, source.partners
    if not partners.items or rng.random() >= section.several_share:
        return []
    wanted = min(1 + int(rng.random() * (section.max_classes - 1)), len(partners.items))
    chosen: dict[str, None] = {}
    while len(chosen) < wanted:
        chosen[partners.draw(rng)] = None
    return list(chosen)


def row_seed(plan: Plan, source: Source, key: Key, number: int, spare: int | None = None) -> int:
    """The seed of a stream's row ``number``, or of one of the spares for its place."""
    place = (number,) if spare is None else (number, "spare", spare)
    return records.content_seed(
        "prompt row", FORMAT, plan.section.seed, source.entry.name, *key, *place
    )


def draw_rows(plan: Plan, source: Source, key: Key, spare: bool) -> Draw:
    """What draws the rows of a stream, or its spares; each call begins with all texts unused."""
    if key[0] == "templates":
        return _template_rows(plan, source, key[1], spare)
    return _caption_rows(plan, source, key, spare)


def _template_rows(plan: Plan, source: Source, relation: Relation, spare: bool) -> Draw:
    words, own_name = source.words[relation], source.entry.name
    always = [name for name in plan.section.always if name != own_name]
    used: set[str] = set()
    left = {
        several: product(plan.templates, words.items, source.partners.items if several else [""])
        for several in (False, True)
    }

    def named(partners: list[str], own: Word, rng: Random) -> Named:
        others = [*partners, *always]
        return draw_named(plan, others, [(own_name, own)], relation, rng, spare)

    def at_random(rng: Random, partners: list[str]) -> tuple[Template, Named]:
        template = plan.templates[int(rng.random() * len(plan.templates))]
        return template, named(partners, words.draw(rng), rng)

    def in_turn(rng: Random, several: bool) -> Iterator[tuple[Template, Named]]:
        for template, word, partner in left[several]:
            partners = [partner] if several else []
            yield template, named(partners, word, rng)

    def draw(seed: int) -> Drawn:
        rng = Random(seed)
        partners = draw_partners(plan, source, rng)
        tries = (at_random(rng, partners) for _ in range(TRIES))
        for template, words_of in chain(tries, in_turn(rng, bool(partners))):
            places = placed([name for name, _ in words_of], plan.places)
            filled = fill(template, [word.text for _, word in words_of], places)
            key = normalise(filled[0])
            if key not in used:
                break
        repeated = key in used
        used.add(key)
        row = _row(plan, seed, filled, words_of, "templates")
        return Drawn(row | {"template": template.text}, key, _mine(plan, words_of), repeated)

    return draw


def _caption_rows(plan: Plan, source: Source, key: Key, spare: bool) -> Draw:
    """From captions, replaced or appended.

    Two rows are near duplicates when caption and own word are the same, whatever the other words.
    """
    kind, relation = key
    words = source.words[relation]
    used: set[tuple[str, str]] = set()
    normal = [normalise(caption.text) for caption in source.captions]
    left = product(range(len(normal)), words.items)

    def draw(seed: int) -> Drawn:
        rng = Random(seed)
        for _ in range(TRIES):
            at, own = int(rng.random() * len(normal)), words.draw(rng)
            if (normal[at], own.text) not in used:
                break
        else:
            fresh = ((at, own) for at, own in left if (normal[at], own.text) not in used)
            at, own = next(fresh, (at, own))
        repeated = (normal[at], own.text) in used
        used.add((normal[at], own.text))
        caption = source.captions[at]
        if caption.id not in source.owned:
            return Drawn({}, "", False, repeated)
        others = [name for name in caption.names if name != source.entry.name]
        named = draw_named(plan, others, [(source.entry.name, own)], relation, rng, spare)
        row, text_key = _caption_row(plan, seed, caption, named, kind)
        return Drawn(row, text_key, _mine(plan, named), repeated)

    return draw


def _caption_row(
    plan: Plan, seed: int, caption: Caption, named: Named, kind: str
) -> tuple[Row, str]:
    if kind == "captions":
        word_of = dict(named)
        texts = {name: word.text for name, word in named}
        text, spans = replace_mentions(caption, texts)
        places = [
            (mention.name, word_of[mention.name], span)
            for mention, span in zip(caption.mentions, spans, strict=True)
        ]
        places.sort(key=lambda place: place[0] != named[0][0])  # the row's own class first
        spans = [span for _, _, span in places]
        named = [(name, word) for name, word, _ in places]
    else:
        text, spans = append_classes(caption, [word.text for _, word in named])
    row = _row(plan, seed, (text, spans), named, kind)
    return row | {"caption_id": caption.id}, normalise(text)


def _mine(plan: Plan, named: Named) -> bool:
    return all(word.text not in plan.sources[name].entry.taken for name, word in named)


def _row(plan: Plan, seed: int, filled: Filled, named: Named, kind: str) -> Row:
    """A row of `tasks.records.PROMPTS`; its seed draws the text and then the image's noise."""
    text, spans = filled
    classes = [
        {
            "name": name,
            "phrase": text[start:end],
            "start": start,
            "end": end,
            "relation": word.relation,
            "depth": word.depth,
            "synset": word.synset,
        }
        for (name, word), (start, end) in zip(named, spans, strict=True)
    ]
    negative = plan.section.negative_prompt
    places = [[each["name"], each["start"], each["end"]] for each in classes]
    return {
        "prompt_id": records.content_id("prompt", FORMAT, text, places, negative, seed),
        "seed": seed,
        "text": text,
        "negative_prompt": negative,
        "classes": classes,
        "source": kind,
        "template": "",
        "caption_id": "",
    }
