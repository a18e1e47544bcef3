"""What the text encoder makes of the prompts: which are too long, which words it does not know.

Prompts are expanded and counted in parts, so that a million need no more memory than some
thousands.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.labelled_sets import SHOWN, some
from tasks.params import RELATIONS, Relation
from tasks.progress import progress
from tasks.prompt_sources import Plan
from tasks.prompts import Tally, class_rows
from tasks.records import ROW_GROUP, batched

_KEYS: dict[Relation, str] = {
    "plain": "phrases",
    "synonym": "synonyms",
    "hyponym": "hyponyms",
}
"""Where the parameters of a class have its words."""
WORD_VOCABULARY = 5_000
"""A byte-pair vocabulary below this size comes from a handful of captions: it has a token for each
of their words, and what falls into pieces was never seen. Storybook's has 718 tokens. In CLIP's
49,408 the pieces were learnt from far more text than any class list, and carry meaning."""


def unknown_words(tokenizer: Any, phrase: str) -> list[str]:
    """The words of a phrase that the text encoder never saw.

    A word is unknown where the tokenizer gives its unknown token, or, for a vocabulary of whole
    words, where it falls into pieces.
    """
    unknown = []
    for word in phrase.split():
        ids = tokenizer(word, add_special_tokens=False)["input_ids"]
        in_pieces = len(ids) > 1 and len(tokenizer) < WORD_VOCABULARY
        if in_pieces or tokenizer.unk_token_id in ids:
            unknown.append(word)
    return unknown


def word_problems(tokenizer: Any, plan: Plan) -> list[str]:
    """The words of classes that the text encoder does not know, class by class."""
    problems = []
    for name, source in plan.sources.items():
        refused = [
            word
            for word in source.entry.words
            if word.text not in source.entry.taken and unknown_words(tokenizer, word.text)
        ]
        if refused:
            problems.append(
                f"expand_prompts.classes: class {name!r} has words that the text encoder of "
                "sample_images.model does not know: "
                + some([f"{word.text!r} ({word.relation})" for word in refused])
                + f"; {_remedy(name, {word.relation for word in refused})}"
            )
    return problems


def _remedy(name: str, relations: set[Relation]) -> str:
    """What to do about unknown words of these relations: a plain phrase can be no stop word."""
    stop = "put {} under expand_prompts.stop_words, {} "
    give = "give the class words that it knows, {{name: " + name + ", {}}}"

    def keys(wanted: set[Relation]) -> str:
        return ", ".join(f"{_KEYS[one]}: [...]" for one in RELATIONS if one in wanted)

    if "plain" not in relations:
        return stop.format("them", "or") + give.format(keys(relations))
    others = " and ".join(_KEYS[one] for one in RELATIONS[1:] if one in relations)
    return (stop.format(f"its {others}", "and") if others else "") + give.format(keys({"plain"}))


def text_problems(tokenizers: Sequence[Any], longest: int, plan: Plan) -> list[str]:
    """The prompts that a text encoder would cut off, or that two tokenizers cut differently.

    A pipeline with two text encoders lays their outputs side by side, token by token: a phrase
    must be the same tokens in both.
    """
    limit = f"the text encoder reads {longest} tokens, start and end included"
    problems = []
    negative = plan.section.negative_prompt
    if max(len(_offsets(tokenizer, [negative])[0]) for tokenizer in tokenizers) > longest:
        problems.append(f"expand_prompts.negative_prompt: {limit}; shorten {negative!r}")
    total = len(plan.sources) * plan.section.images_per_class
    long, unlike = {"templates": Faulty(), "captions": Faulty()}, Faulty()
    rows = (row for name in plan.sources for row in class_rows(plan, name, Tally()))
    with progress("counting tokens", total, "prompts", enabled=total > ROW_GROUP) as advance:
        for part in batched(rows, ROW_GROUP):
            times = Counter(row["text"] for row in part)
            distinct = {row["text"]: row for row in part}
            found = [_offsets(tokenizer, list(distinct)) for tokenizer in tokenizers]
            for (text, row), first, *others in zip(distinct.items(), *found, strict=True):
                tokens = max(map(len, (first, *others)))
                if tokens > longest:
                    key = "templates" if row["source"] == "templates" else "captions"
                    long[key].add(f'"{text}" ({tokens} tokens, {row["prompt_id"]})', times[text])
                if any(other != first for other in others):
                    unlike.add(f'"{text}" ({row["prompt_id"]})', times[text])
            advance(len(part))
    problems += [
        f"expand_prompts.{key}: {faulty.count} of {total} prompts are too long: {limit}; "
        f"shorten the {key} or phrases of {', '.join(faulty.first)}"
        for key, faulty in long.items()
        if faulty.count
    ]
    if unlike.count:
        problems.append(
            f"sample_images.model: its two tokenizers split {unlike.count} of {total} prompts "
            "differently, so no column of attention is the phrase's; choose other words or "
            f"another model for {', '.join(unlike.first)}"
        )
    return problems


@dataclass
class Faulty:
    """How many prompts have a fault, and the first ones."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, prompt: str, times: int) -> None:
        """Count a text that so many prompts have."""
        self.count += times
        if len(self.first) < SHOWN:
            self.first.append(prompt)


def prompt_problems(plan: Plan, tokenizers: Sequence[Any], longest: int) -> list[str]:
    """All that is wrong with the prompts for a model's text encoders.

    Args:
        tokenizers: one for each text encoder.
        longest: tokens that they read, start and end included.
    """
    problems = [fault for tokenizer in tokenizers for fault in word_problems(tokenizer, plan)]
    return problems + text_problems(tokenizers, longest, plan)


def _offsets(tokenizer: Any, texts: list[str]) -> list[list[tuple[int, int]]]:
    """Where the tokens of each text stand in it."""
    encoded = tokenizer(texts, truncation=False, verbose=False, return_offsets_mapping=True)
    offsets: list[list[tuple[int, int]]] = encoded["offset_mapping"]
    return offsets
