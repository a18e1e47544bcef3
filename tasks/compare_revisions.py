"""A page about what changed between two revisions.

It shows what ``python -m tasks.lineage diff BEFORE AFTER --json`` says, and is one file that opens
from disk. It lies outside ``report/``, which belongs to the stage ``write_report`` and would be
made anew if a file were added to it. Imports no torch.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from tasks.entry import run_tool
from tasks.params import InputError
from tasks.report_pages import render

WANTED = {"before", "after", "parameters", "code", "classes", "samples", "metrics"}

Row = dict[str, Any]

app = cyclopts.App(help=__doc__.partition("\n")[0])


def read_difference(text: str, where: str) -> Row:
    """The answer of ``tasks.lineage diff --json``.

    Raises:
        InputError: it is something else.
    """
    remedy = "make it with `python -m tasks.lineage diff BEFORE AFTER --json`"
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: is no JSON ({error}); {remedy}") from None
    missing = WANTED - set(found) if isinstance(found, dict) else WANTED
    if missing:
        raise InputError(f"{where}: lacks {', '.join(sorted(missing))}; {remedy}")
    return dict(found)


def shown(value: Any) -> str:
    """A parameter or a metric as text; None, which stands for what is not there, as a dash."""
    if value is None:
        return "–"  # noqa: RUF001  the dash that tables have for nothing
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def with_change(row: Row) -> Row:
    """A changed value as text; of two numbers also the ``change`` between them."""
    before, after = row["before"], row["after"]
    numbers = all(isinstance(one, int | float) for one in (before, after))
    change = f"{after - before:+.4g}" if numbers else ""
    return {"key": row["key"], "before": shown(before), "after": shown(after), "change": change}


def class_bars(classes: list[Row]) -> list[Row]:
    """Kept samples by class, before and after, with their shares of the largest number."""
    most = max((row[side] for row in classes for side in ("before", "after")), default=0) or 1
    return [
        {**row, "before_share": row["before"] / most, "after_share": row["after"] / most}
        for row in classes
    ]


def comparison(found: Row, home: str) -> str:
    """The page.

    Args:
        found: see `read_difference`.
        home: the way to the report's folder, such as ``report/``.
    """
    context = {
        **found,
        "home": home,
        "parameters": [with_change(row) for row in found["parameters"]],
        "metrics": [with_change(row) for row in found["metrics"]],
        "classes": class_bars(found["classes"]),
    }
    return render("compare.html", context)


@app.default
def main(
    difference: Annotated[str, Parameter(help="its file, or - for what comes in")] = "-",
    *,
    out: Annotated[Path, Parameter(help="the page to write")] = Path("comparison.html"),
    report: Annotated[Path, Parameter(help="the report to link to")] = Path("report"),
) -> None:
    """Write a page about what changed: lineage diff A B --json | compare_revisions."""
    if difference == "-":
        text, where = sys.stdin.read(), "standard input"
    else:
        try:
            text, where = Path(difference).read_text(encoding="utf-8"), difference
        except OSError as error:
            raise InputError(f"{difference}: {error.strerror}; name the file of a diff") from None
    found = read_difference(text, where)
    home = Path(os.path.relpath(report, out.parent)).as_posix()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(comparison(found, f"{home}/"), encoding="utf-8")
    print(out)


if __name__ == "__main__":
    run_tool(app)
