"""Which tokens of a prompt are a class phrase's."""

import re
from collections.abc import Sequence
from typing import Any

from tasks.params import InputError

Span = tuple[int, int]


def phrase_columns(tokenizer: Any, text: str, spans: Sequence[Span]) -> list[list[int]]:
    """Token positions of the character spans of ``text``, from the tokenizer's own offsets.

    Where a marked phrase stands in the text again, as a word, outside the other spans and not as a
    part of a longer marked phrase, that occurrence counts too.

    Raises:
        InputError: a phrase has no token before the text encoder's length cuts the prompt off.
    """
    offsets = tokenizer(text, truncation=False, verbose=False, return_offsets_mapping=True)[
        "offset_mapping"
    ]
    end_token = tokenizer.model_max_length - 1  # its position where the prompt is cut off
    columns = []
    for span, others in zip(spans, _other_occurrences(text, spans), strict=True):
        found: list[int] = []
        for first, last in [span, *others]:
            tokens = [i for i, (a, b) in enumerate(offsets) if a < last and b > first]
            if max(tokens, default=end_token) >= end_token:
                raise InputError(
                    f"prompt {text!r}: the phrase {text[first:last]!r} lies past the text "
                    f"encoder's {tokenizer.model_max_length} tokens; shorten the template"
                )
            found += tokens
        columns.append(sorted(found))
    return columns


def _other_occurrences(text: str, spans: Sequence[Span]) -> list[list[Span]]:
    """For each span, where else its phrase stands as a word of its own."""
    matches = [
        [
            match.span()
            for match in re.finditer(
                rf"(?<!\w){re.escape(text[slice(*span)])}(?!\w)", text, re.IGNORECASE
            )
        ]
        for span in spans
    ]
    longer = [(a, b) for found in matches for a, b in found]
    return [
        [
            (a, b)
            for a, b in found
            if not any(a < end and b > start for start, end in spans)
            and not any(c <= a and b <= d and d - c > b - a for c, d in longer)
        ]
        for found in matches
    ]
