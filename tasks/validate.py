"""Check a labelled tree, an export or anybody's, before it is trained on.

    python -m tasks.validate exported
    python -m tasks.validate VOC2012 --format voc --classes 21
    python -m tasks.validate exported --json > findings.json

Every image and label map is decoded and compared; what breaks a rule is listed by file, rule and
remedy, and the exit status is then 1. The layouts are in `tasks.validators`.
"""

import json
import os
import sys
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter
from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.entry import run_tool
from tasks.params import InputError
from tasks.plain_text import plain
from tasks.progress import progress
from tasks.validators.findings import Classes, Entry, Finding, Outcome, Tree
from tasks.validators.layouts import Format, detect, given_classes, missing, read_tree
from tasks.version import project_version

AHEAD = 4
"""Entries a thread that are read before they are checked; they bound the memory."""

app = cyclopts.App(name="python -m tasks.validate", version=project_version)


@dataclass
class Report:
    """What was found in a tree.

    Attributes:
        form: the layout.
        classes: what label values may be.
        images: how many were looked at.
        findings: in the tree's order.
        pixels: label value -> pixels.
        shown_in: label value -> images.
    """

    form: str
    classes: Classes
    images: int = 0
    findings: list[Finding] = field(default_factory=list)
    pixels: Counter[int] = field(default_factory=Counter)
    shown_in: Counter[int] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count an entry in."""
        self.images += outcome.images
        self.findings += outcome.findings
        self.pixels.update(outcome.pixels)
        self.shown_in.update(outcome.pixels.keys())

    def histogram(self) -> list[dict[str, Any]]:
        """A row a label value that is named or was met: label, class, pixels, share, images."""
        total = self.pixels.total()
        values = sorted({*self.classes.names, *self.pixels})
        return [
            {
                "label": value,
                "class": self.classes.name(value),
                "pixels": self.pixels[value],
                "share": round(self.pixels[value] / total, 6) if total else 0.0,
                "images": self.shown_in[value],
            }
            for value in values
        ]


def validate(tree: Tree, workers: int) -> Report:
    """Check all entries, in their order, several at a time."""
    report = Report(tree.form, tree.classes)
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(workers) as pool,
        progress("checking", tree.total, "images") as advance,
    ):
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for outcome in _checked(tree, pool, workers * AHEAD):
            report.add(outcome)
            advance(outcome.images)
    return report


def _checked(tree: Tree, pool: ThreadPoolExecutor, ahead: int) -> Iterator[Outcome]:
    waiting: deque[Future[Outcome]] = deque()
    for entry in tree.entries:
        waiting.append(pool.submit(_check, entry, tree.classes))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _check(entry: Entry | Finding, classes: Classes) -> Outcome:
    return Outcome([entry]) if isinstance(entry, Finding) else entry.check(classes)


def show(report: Report, console: Console) -> None:
    """Print the findings, a line each, and the histogram."""
    for one in report.findings:
        line = f"{one.file}: {one.rule}: {one.found}; {one.remedy}"
        console.print(Text(plain(line)), soft_wrap=True)
    table = Table(title=f"{report.images} images, {report.form}", title_justify="left")
    for title in ("label", "class", "pixels", "share", "images"):
        table.add_column(title, justify="left" if title == "class" else "right")
    for row in report.histogram():
        cells = (row["label"], row["class"], row["pixels"], f"{row['share']:.2%}", row["images"])
        table.add_row(*(Text(plain(cell)) for cell in cells))
    console.print(table)
    if not report.classes.names:
        console.print("Label values were not compared with classes: none are named; give --classes")
    counts = Counter(one.rule for one in report.findings)
    told = ", ".join(f"{count} {rule}" for rule, count in sorted(counts.items()))
    number = "1 finding" if len(report.findings) == 1 else f"{len(report.findings)} findings"
    console.print(f"{number}: {told}" if told else "No findings")


def as_json(report: Report) -> str:
    """The report for machines."""
    content = {
        "format": report.form,
        "images": report.images,
        "histogram": report.histogram(),
        "findings": [asdict(one) for one in report.findings],
    }
    return json.dumps(content, indent=2)


@app.default
def main(
    tree: Annotated[Path, Parameter(name="TREE")],
    *,
    form: Annotated[Format | None, Parameter(name="--format")] = None,
    classes: str | None = None,
    json_: Annotated[bool, Parameter(name="--json", negative="")] = False,
    workers: Annotated[int, Parameter(validator=cyclopts.validators.Number(gte=1))] = (
        os.cpu_count() or 1
    ),
) -> None:
    """Check a labelled tree: an export of `python -m tasks.export`, or anybody's.

    Decodes every file and lists what breaks a rule, by file, with a remedy:

    * pair: an image without a label map or the reverse, or listed without a file
    * size: image, label map and other maps differ
    * mode: an image that is not RGB, a label map of several channels
    * values: label values beyond the classes (255, or 65535 of 16 bits, is ignored)
    * palette: a palette of fewer than 256 colours
    * empty: no pixel of any class
    * count: fewer images than an export's manifest says
    * annotation: COCO's ids, boxes, areas and masks that do not hold together
    * name: a path that leads outside the tree
    * unreadable, too large: what cannot or must not be decoded

    Then follows a histogram of the classes. Exit status 1 if anything was found.

    Args:
        tree: the root folder.
        form: the layout, if it is not to be told by what lies there.
        classes: number of label values, background included, or a file with their names, one a line
            or a JSON list; where the tree does not say, or is not to be believed.
        json_: print the report as JSON instead.
        workers: files decoded at a time.
    """
    if not tree.is_dir():
        raise InputError(f"{tree}: no such folder; name the root of the tree")
    given = given_classes(classes) if classes else None
    report = validate(read_tree(tree, form or detect(tree), given), workers)
    if not report.images and not report.findings:
        raise InputError(f"{tree}: holds no image as --format {report.form} has them; name another")
    lost = missing(tree, report.images)
    report.findings += [lost] if lost else []
    if json_:
        print(as_json(report))
    else:
        show(report, Console(highlight=False))
    if report.findings:
        sys.exit(1)


if __name__ == "__main__":
    run_tool(app)
