"""Prompts: templates filled with the words of classes, and where those words stand.

Every class gets ``images_per_class`` rows. The way it is named (plainly, by a synonym, by a
hyponym) follows the shares exactly, up to rounding; words and templates are drawn from a generator
that depends on the class and the row alone, so that a larger budget keeps all earlier rows.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tasks import records
from tasks.lexicon import Entry, look_up_all
from tasks.params import ExpandPrompts, PromptShares

FORMAT = 1
VOWELS = "aeiou"


def with_article(template: str, phrase: str) -> tuple[str, int]:
    """Put ``phrase`` into ``template``, setting a/an before it right.

    Returns:
        The text and the character at which the phrase starts.
    """
    before, after = template.split("{}")
    words = before.split(" ")
    if len(words) > 1 and words[-1] == "" and words[-2].lower() in ("a", "an"):
        article = "an" if phrase[0].lower() in VOWELS else "a"
        words[-2] = article.capitalize() if words[-2][0].isupper() else article
        before = " ".join(words)
    return before + phrase + after, len(before)


def relation_sequence(shares: PromptShares) -> Iterator[str]:
    """How the rows of a class name it, one after the other, for ever.

    Each row takes the relation that is furthest behind its share, so every beginning of the
    sequence holds the shares to within one row.
    """
    wanted = {"plain": shares.plain, "synonym": shares.synonym, "hyponym": shares.hyponym}
    taken = dict.fromkeys(wanted, 0)
    row = 0
    while True:
        row += 1
        chosen = max(wanted, key=lambda relation: wanted[relation] * row - taken[relation])
        taken[chosen] += 1
        yield chosen


def draw_word(entry: Entry, relation: str, rng: np.random.Generator) -> tuple[str, str]:
    """A word of the asked relation, or a plain phrase where the class has none.

    Returns:
        The word and the relation that it really has.
    """
    words = {"plain": entry.phrases, "synonym": entry.synonyms, "hyponym": entry.hyponyms}
    if not words[relation]:
        relation = "plain"
    return str(rng.choice(words[relation])), relation


def compose(
    template: str, named: Sequence[tuple[str, str, str]]
) -> tuple[str, list[dict[str, Any]]]:
    """Fill a template with one or several classes: "a {}" -> "a car and an oak".

    Args:
        named: (class name, word, relation) of each class, the first is the row's own.

    Returns:
        The text and its classes as in `tasks.records.PROMPT_CLASS`.
    """
    phrase, starts = named[0][1], [0]
    for _, word, _ in named[1:]:
        joined, start = with_article("a {}", word)
        starts.append(len(phrase) + len(" and ") + start)
        phrase += f" and {joined}"
    text, offset = with_article(template, phrase)
    classes = [
        {
            "name": name,
            "phrase": word,
            "start": offset + start,
            "end": offset + start + len(word),
            "relation": relation,
        }
        for (name, word, relation), start in zip(named, starts, strict=True)
    ]
    return text, classes


def expand(section: ExpandPrompts) -> list[dict[str, Any]]:
    """All rows of ``data/prompts.parquet``, class after class.

    Raises:
        InputError: a class has no phrase, or a word names two classes.
    """
    entries = look_up_all(section.classes)
    rows = []
    for entry in entries:
        others = [other for other in entries if other is not entry]
        relations = relation_sequence(section.shares)
        for index in range(section.images_per_class):
            rng = np.random.default_rng(
                records.content_seed("prompt row", FORMAT, section.seed, entry.name, index)
            )
            template = str(rng.choice(section.templates))
            named = [(entry.name, *draw_word(entry, next(relations), rng))]
            if others and rng.random() < section.two_class_share:
                second = others[rng.integers(len(others))]
                named.append((second.name, *draw_word(second, named[0][2], rng)))
            text, classes = compose(template, named)
            prompt_id = records.content_id("prompt", FORMAT, text, classes, section.negative_prompt)
            rows.append(
                {
                    "prompt_id": prompt_id,
                    "seed": records.content_seed(prompt_id, section.seed, index),
                    "text": text,
                    "negative_prompt": section.negative_prompt,
                    "classes": classes,
                    "template": template,
                }
            )
    return rows
