"""What is told of parameters, or of any other input, that cannot be used."""

import difflib
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tasks.params.whole import Params

_OTHER_WORDS = {
    "tuple_type": "must be a list, such as [a, b]",
    "model_type": "must be a mapping, such as {key: value}",
}
"""Rules in YAML's words where pydantic's are Python's."""


class InputError(Exception):
    """Something the user gave cannot be used. The message names it, the rule and the remedy."""


def describe(path: Path, error: ValidationError) -> str:
    """All violations of the rules of ``path``, a line or more each."""
    return "\n".join(_describe(path, item) for item in _causes(error))


def _causes(error: ValidationError) -> list[Any]:
    """The violations but for lists called too short only because an item of theirs was refused."""
    items = error.errors()
    places = [item["loc"] for item in items]
    return [
        item
        for item in items
        if item["type"] != "too_short"
        or not any(at[: len(item["loc"])] == item["loc"] != at for at in places)
    ]


def _describe(path: Path, item: Any) -> str:
    """One violation as "file: key: rule, not value; remedy"."""
    location = item["loc"]
    if not location:  # a rule between sections, which names its keys itself
        lines = re.sub("^Value error, ", "", item["msg"]).splitlines()
        return "\n".join(f"{path}: {line}" for line in lines)
    key = ".".join(str(part) for part in location)
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(location[-1]), _known_keys(location[:-1]), 1, 0.5)
        known = ", ".join(_known_keys(location[:-1]))
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {known}"
        return f"{path}: {key}: unknown key (value {item['input']!r}); {hint}"
    if item["type"] == "missing":
        return f"{path}: {key}: required key is missing; the presets show every key with a comment"
    rule = _OTHER_WORDS.get(item["type"]) or re.sub("^Value error, ", "", item["msg"])
    value = "" if isinstance(item["input"], dict | list | tuple) else f", not {item['input']!r}"
    return f"{path}: {key}: {rule}{value}"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys that the section at ``location`` allows."""
    model: Any = Params
    for key in location:
        if isinstance(key, int):
            continue
        annotation = model.model_fields[key].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)
