"""Builds ``benchmarks/README.md`` from the results: ``python -m benchmarks.readme``."""

import json
from pathlib import Path
from typing import Any

import cyclopts

from benchmarks.record import RESULTS, cell

HEAD = """# Measurements

Built by `python -m benchmarks.readme` from `benchmarks/results/`; do not edit. A bar is a bound
that the measurement must keep: the command ends with status 1 when one does not hold.
"""


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """Rows with the same keys as a Markdown table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "| " + " | ".join("---" for _ in rows[0]) + " |"]
    lines += ["| " + " | ".join(map(cell, row.values())) + " |" for row in rows]
    return "\n".join(lines)


def section(name: str, result: dict[str, Any]) -> str:
    """A benchmark's latest result: what ran, its rows, its bars."""
    ran = dict(result["ran"])
    versions = ", ".join(f"{key} {value}" for key, value in ran.pop("versions").items())
    facts = [f"* {key}: {value}" for key, value in ran.items() if key != "command"]
    return "\n".join(
        [
            f"## {name}",
            "",
            f"    {ran['command']}",
            "",
            *facts,
            f"* versions: {versions}",
            "",
            markdown_table(result["rows"]),
            "",
            *([markdown_table(result["bars"]), ""] if result["bars"] else []),
        ]
    )


def build(folder: Path = RESULTS) -> str:
    """The whole page."""
    files = sorted(folder.glob("*.json"))
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    return "\n".join([HEAD, *(section(name, result) for name, result in results.items())])


def main() -> None:
    """Write benchmarks/README.md from the results."""
    (Path(__file__).parent / "README.md").write_text(build(), encoding="utf-8")


if __name__ == "__main__":
    cyclopts.run(main)
