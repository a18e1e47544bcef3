"""Puts a trained base model in place: ``python -m storybook.base_model.publish``.

Copies the folder only when its measured bars hold and it is small enough for the repository.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

LARGEST_MB = 16.0


def obstacles(folder: Path) -> list[str]:
    """Why ``folder`` must not be published; empty when it may."""
    measured = folder / "quality.json"
    if not measured.exists():
        return [
            f"{measured} is missing: run python -m storybook.base_model.quality --model {folder}"
        ]
    bars = json.loads(measured.read_text())["bars"]
    found = [
        f"{bar['name']} is {bar['value']:.3f}, below {bar['bound']}"
        for bar in bars
        if not bar["holds"]
    ]
    megabytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    if megabytes > LARGEST_MB:
        found.append(f"{folder} holds {megabytes:.1f} MB, more than {LARGEST_MB}")
    return found


def main(
    *,
    source: Annotated[Path, Parameter(help="the trained folder")] = Path(__file__).parent / "out",
    target: Annotated[Path, Parameter(help="where it goes")] = Path("models/storybook-sd"),
) -> None:
    """Copy a measured base model to models/storybook-sd."""
    if found := obstacles(source):
        print("not published:", *found, sep="\n  ", file=sys.stderr)
        raise SystemExit(1)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    print(f"published {source} as {target}")


if __name__ == "__main__":
    cyclopts.run(main)
