"""Which tokens of a prompt are a class phrase's."""

import re
from collections.abc import Sequence
from typing import Any

from tasks.params import InputError


def phrase_columns(tokenizer: Any, text: str, spans: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Token positions of the character spans of ``text``, from the tokenizer's own offsets.

    Where a marked phrase stands in the text again, as a word and outside the other spans, that
    occurrence counts too.

    Raises:
        InputError: a phrase has no token before the text encoder's length cuts the prompt off.
    """
    offsets = tokenizer(text, truncation=False, verbose=False, return_offsets_mapping=True)[
        "offset_mapping"
    ]
    end_token = tokenizer.model_max_length - 1  # its position where the prompt is cut off
    columns = []
    for start, end in spans:
        found: list[int] = []
        for first, last in [(start, end), *_other_occurrences(text, (start, end), spans)]:
            tokens = [i for i, (a, b) in enumerate(offsets) if a < last and b > first]
            if max(tokens, default=end_token) >= end_token:
                raise InputError(
                    f"prompt {text!r}: the phrase {text[first:last]!r} lies past the text "
                    f"encoder's {tokenizer.model_max_length} tokens; shorten the template"
                )
            found += tokens
        columns.append(sorted(found))
    return columns


def _other_occurrences(
    text: str, span: tuple[int, int], spans: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Where the phrase of ``span`` stands as a word outside all marked spans."""
    word = rf"(?<!\w){re.escape(text[slice(*span)])}(?!\w)"
    found = [match.span() for match in re.finditer(word, text, re.IGNORECASE)]
    return [(a, b) for a, b in found if not any(a < end and b > start for start, end in spans)]
