"""Streams of prompts: for each class, source and relation a row after the other, for ever.

Every row is drawn by a generator seeded by the class, the stream and the row's number alone, and
looks at nothing that a larger budget or an appended class would change. A row that another class
has the better claim to is drawn all the same, and marked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, product
from random import Random  # its random() is the same in every version of Python; NumPy's is not
from typing import Any

from tasks import records
from tasks.captions import Caption, append_classes, replace_mentions
from tasks.english import normalise
from tasks.lexicon import Relation, Word
from tasks.prompt_sources import Plan, Source
from tasks.templates import Filled, Template, fill

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
        repeated: its text was used before, as all texts of the stream were.
    """

    row: Row
    text_key: str
    mine: bool
    repeated: bool


def draw_named(
    plan: Plan, source: Source, names: Sequence[str], own: Word, relation: Relation, rng: Random
) -> Named:
    """A word for each class beside the row's own, of the same relation where the class has one."""
    named = [(source.entry.name, own)]
    for name in names:
        named.append((name, plan.sources[name].beside(relation).draw(rng)))
    return named


def draw_partners(plan: Plan, source: Source, rng: Random) -> list[str]:
    """The classes beside the row's own: none, or up to ``max_classes - 1`` different ones."""
    section, partners = plan.section, source.partners
    if not partners.items or rng.random() >= section.several_share:
        return []
    wanted = min(1 + int(rng.random() * (section.max_classes - 1)), len(partners.items))
    chosen: dict[str, None] = {}
    while len(chosen) < wanted:
        chosen[partners.draw(rng)] = None
    return list(chosen)


def template_rows(plan: Plan, source: Source, relation: Relation) -> Iterator[Drawn]:
    """The stream of a class's prompts from templates, for ever."""
    words = source.words[relation]
    used: set[str] = set()
    left = {
        several: product(plan.templates, words.items, source.partners.items if several else [""])
        for several in (False, True)
    }

    def at_random(rng: Random, partners: list[str]) -> tuple[Template, Named]:
        template = plan.templates[int(rng.random() * len(plan.templates))]
        return template, draw_named(plan, source, partners, words.draw(rng), relation, rng)

    def in_turn(rng: Random, several: bool) -> Iterator[tuple[Template, Named]]:
        for template, word, partner in left[several]:
            partners = [partner] if several else []
            yield template, draw_named(plan, source, partners, word, relation, rng)

    for number in count():
        seed = _seed(plan, source, ("templates", relation), number)
        rng = Random(seed)
        partners = draw_partners(plan, source, rng)
        tries = (at_random(rng, partners) for _ in range(TRIES))
        for template, named in chain(tries, in_turn(rng, bool(partners))):
            filled = fill(template, [word.text for _, word in named])
            key = normalise(filled[0])
            if key not in used:
                break
        repeated = key in used
        used.add(key)
        row = _row(plan, seed, filled, named, "templates")
        yield Drawn(row | {"template": template.text}, key, _mine(plan, named), repeated)


def caption_rows(plan: Plan, source: Source, key: Key) -> Iterator[Drawn]:
    """The stream of a class's prompts from captions, replaced or appended, for ever.

    Two rows are near duplicates when caption and own word are the same, whatever the other words.
    """
    kind, relation = key
    words = source.words[relation]
    used: set[tuple[str, str]] = set()
    normal = [normalise(caption.text) for caption in source.captions]
    left = product(range(len(normal)), words.items)
    for number in count():
        seed = _seed(plan, source, key, number)
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
            yield Drawn({}, "", False, repeated)
            continue
        others = [name for name in caption.names if name != source.entry.name]
        named = draw_named(plan, source, others, own, relation, rng)
        row, text_key = _caption_row(plan, seed, caption, named, kind)
        yield Drawn(row, text_key, _mine(plan, named), repeated)


def _caption_row(
    plan: Plan, seed: int, caption: Caption, named: Named, kind: str
) -> tuple[Row, str]:
    if kind == "captions":
        word_of = {name: word for name, word in named}
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


def _seed(plan: Plan, source: Source, key: Key, number: int) -> int:
    return records.content_seed(
        "prompt row", FORMAT, plan.section.seed, source.entry.name, *key, number
    )


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
