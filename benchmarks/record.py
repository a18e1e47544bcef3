"""What a benchmark leaves: a table, ``results/<name>.json``, and its exit status."""

import json
import os
import platform
import shlex
import sys
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "diffusers", "onedl-mmsegmentation", "dvc", "prefect")

Row = dict[str, str | float]


@dataclass(frozen=True)
class Bar:
    """A value and the bound that it must keep."""

    name: str
    value: float
    bound: float
    holds: bool

    @classmethod
    def at_most(cls, name: str, value: float, bound: float, digits: int | None = None) -> "Bar":
        """A bar that holds where the value is not above the bound.

        Args:
            digits: after the point, of what is shown; the value itself is judged.
        """
        return cls(name, _shown(value, digits), bound, value <= bound)

    @classmethod
    def at_least(cls, name: str, value: float, bound: float, digits: int | None = None) -> "Bar":
        """A bar that holds where the value is not below the bound; ``digits`` as in `at_most`."""
        return cls(name, _shown(value, digits), bound, value >= bound)


def _shown(value: float, digits: int | None) -> float:
    return value if digits is None else round(value, digits)


def need_crf() -> None:
    """End with the remedy where the dense CRF is not installed, before anything is measured.

    Raises:
        SystemExit: it is not.
    """
    if find_spec("pydensecrf") is None:
        raise SystemExit("the dense CRF is not installed: run `make crf`, or `make bench`")


def what_ran(**details: Any) -> dict[str, Any]:
    """Command, date, machine and versions, and what else the benchmark says of itself."""
    module = f"benchmarks.{Path(sys.argv[0]).stem}"
    return {
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "date": datetime.now().astimezone().date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {gpu()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        **details,
    }


def gpu() -> str:
    """The GPU that ``device: auto`` takes, in words."""
    import torch  # two seconds, and not every benchmark computes with it

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else "no GPU used"


def finish(
    name: str, ran: dict[str, Any], rows: list[Row], bars: list[Bar], folder: Path | None = RESULTS
) -> None:
    """Print the tables and write the result, unless ``folder`` is None.

    Args:
        bars: none where the benchmark only tells, and bounds nothing.

    Raises:
        SystemExit: with status 1 when a bar does not hold.
    """
    console = Console()
    console.print(_table(name, rows))
    if bars:
        console.print(_table("bars", [asdict(bar) for bar in bars]))
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        result = {"ran": ran, "rows": rows, "bars": [asdict(bar) for bar in bars]}
        text = json.dumps(result, indent=2, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    if not all(bar.holds for bar in bars):
        raise SystemExit(1)


def cell(value: Any) -> str:
    """A table cell: yes or no, up to four digits after the point, or as it is."""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(*rows[0], title=title, title_justify="left")
    for row in rows:
        table.add_row(*map(cell, row.values()))
    return table
