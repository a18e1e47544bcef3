"""Prompts to expand: their parameters, sentences to take them from, rows of a class."""

from pathlib import Path
from typing import Any

from tasks.params import ExpandPrompts
from tasks.prompt_sources import prepare
from tasks.prompt_streams import Row
from tasks.prompts import Tally, class_rows

SENTENCES = """\
A dog sits beside a car.
Two dogs!
The brown dog sleeps in a boat
a boat at sea, and another boat
A category of its own.
A photo of a dog.
"""


def section(**changes: Any) -> ExpandPrompts:
    values: dict[str, Any] = {
        "classes": ["car", "dog"],
        "background": "rest",
        "classes_file": "none",
        "lexicon": "builtin",
        "hyponym_depth": 9,
        "depth_weight": 1.0,
        "stop_words": [],
        "sources": {"templates": 1.0, "captions": 0.0, "classes_appended": 0.0},
        "templates": ["a {}", "a photo of a {}", "a picture of a {} on grass"],
        "captions": "none",
        "images_per_class": 10,
        "shares": {"plain": 0.5, "synonym": 0.2, "hyponym": 0.3},
        "several_share": 0.5,
        "max_classes": 2,
        "pairs": "any",
        "always": [],
        "places": {},
        "negative_prompt": "",
        "seed": 0,
    }
    return ExpandPrompts.model_validate(values | changes)


def captioned(folder: Path, sentences: str = SENTENCES, **changes: Any) -> ExpandPrompts:
    """Half of the prompts from sentences, a quarter with the class words behind them."""
    (folder / "captions.txt").write_text(sentences)
    sources = {"templates": 0.25, "captions": 0.5, "classes_appended": 0.25}
    values = {"captions": "captions.txt", "sources": sources, "classes": ["car", "dog", "boat"]}
    return section(**values | changes)


def rows_of(name: str, asked: ExpandPrompts, root: Path = Path()) -> tuple[list[Row], Tally]:
    tally = Tally()
    return list(class_rows(prepare(asked, root), name, tally)), tally


def names(row: Row) -> list[str]:
    return [each["name"] for each in row["classes"]]
