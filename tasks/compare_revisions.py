"""A page about what changed between two revisions.

It shows what ``python -m tasks.lineage diff BEFORE AFTER --page FILE`` finds, and is one file that
opens from disk. It lies outside ``report/``, which belongs to the stage ``write_report`` and would
be made anew if a file were added to it. Imports no torch.
"""

import json
import os
from pathlib import Path
from typing import Any

from tasks.report_pages import render

Row = dict[str, Any]


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
        found: see `write_comparison`.
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


def write_comparison(found: Row, out: Path, report: Path = Path("report")) -> None:
    """Write the page.

    Args:
        found: what `tasks.dataset_diff.compare` returns.
        out: the file.
        report: the report's folder, which the samples' links lead to.
    """
    home = Path(os.path.relpath(report, out.parent)).as_posix()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(comparison(found, f"{home}/"), encoding="utf-8")
