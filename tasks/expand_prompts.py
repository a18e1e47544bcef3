"""Stage ``expand_prompts``: class names to prompts with the class words marked."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter, validators
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks import records
from tasks.entry import run_stage
from tasks.params import InputError, Params
from tasks.progress import progress
from tasks.prompt_sources import Plan, prepare
from tasks.prompt_streams import Row
from tasks.prompts import Tally, class_rows

OFFSETS = 7
"""The preview begins at one of so many rows of a class, in turn."""


def summarise(plan: Plan, tallies: dict[str, Tally]) -> dict[str, Any]:
    """``metrics/prompts.json``: totals and each class, in label order.

    A repeat has the text of an earlier row of its class and another seed. A withdrawn row was
    drawn and left out because its word or caption belongs to another class. Ambiguous are the
    plain words that mean something else as well.
    """
    entries = {name: plan.sources[name].entry for name in tallies}
    per_class = {
        name: {
            **_counts(tally),
            "ambiguous": len(entries[name].ambiguous),
            "synset": entries[name].synset,
        }
        for name, tally in tallies.items()
    }
    ambiguous = sum(len(entry.ambiguous) for entry in entries.values())
    total = _counts(sum(tallies.values(), Tally()))
    return {**total, "ambiguous": ambiguous, "per_class": per_class}


def _counts(tally: Tally) -> dict[str, Any]:
    return {
        "prompts": tally.rows,
        "distinct_texts": tally.rows - tally.repeats,
        "repeats": tally.repeats,
        "withdrawn": tally.withdrawn,
        "distinct_words": len(tally.words),
        "relations": dict(sorted(tally.relations.items())),
        "depths": {str(depth): tally.depths[depth] for depth in sorted(tally.depths)},
        "sources": dict(sorted(tally.sources.items())),
    }


def run(params: Params, root: Path = Path()) -> None:
    """Write ``data/prompts.parquet`` and ``metrics/prompts.json``.

    Raises:
        InputError: as `prepare`.
    """
    plan = prepare(params.expand_prompts, root)
    tallies = {name: Tally() for name in plan.sources}
    wanted = len(tallies) * params.expand_prompts.images_per_class
    ids: set[int] = set()

    def rows() -> Iterator[Row]:
        with progress("expanding", wanted, "prompts") as advance:
            for name, tally in tallies.items():
                for row in class_rows(plan, name, tally):
                    ids.add(int(row["prompt_id"], 16))
                    yield row
                advance(tally.rows)

    records.write_rows(root / "data/prompts.parquet", rows(), records.PROMPTS)
    if len(ids) != wanted:
        raise InputError(
            f"data/prompts.parquet: {wanted - len(ids)} ids stand twice, by chance; choose another "
            "expand_prompts.seed"
        )
    records.write_json(root / "metrics/prompts.json", summarise(plan, tallies))


def sample(plan: Plan, wanted: int) -> Iterator[Row]:
    """About ``wanted`` rows to read: of as many classes as there are, spread over the list."""
    names = list(plan.sources)
    count = min(wanted, len(names))
    chosen = [names[number * len(names) // count] for number in range(count)]
    for number, name in enumerate(chosen):
        share = wanted // count + (number < wanted % count)
        first = number % OFFSETS  # not of every class its first row, which is a plain one
        yield from islice(class_rows(plan, name, Tally()), first, first + share)


def show_preview(params: Params, wanted: int) -> None:
    """Print some prompts, class words marked, with what each word is to its class."""
    table = Table("class", "relation", "source", "prompt", box=None, pad_edge=False)
    for row in sample(prepare(params.expand_prompts), wanted):
        text = Text(row["text"])
        for place in row["classes"]:
            text.stylize("bold underline", place["start"], place["end"])
        named = [
            f"{one['relation']}{' ' + str(one['depth']) if one['depth'] else ''}"
            for one in row["classes"]
        ]
        names = ", ".join(one["name"] for one in row["classes"])
        table.add_row(Text(names), ", ".join(named), row["source"], text)
    Console().print(table)


def main(
    *,
    preview: Annotated[
        int,
        Parameter(
            help="print so many prompts, spread over the classes, and write nothing",
            validator=validators.Number(gte=0),
        ),
    ] = 0,
) -> None:
    """Expand the class names into prompts: data/prompts.parquet."""
    if preview:
        run_stage(partial(show_preview, wanted=preview))
    else:
        run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
