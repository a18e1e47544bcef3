"""Grids of pipeline runs: each cell in a temporary clone of the committed state.

A finished cell is kept under ``.maskloom/benchmarks``, by commit, so that a measurement that was
stopped goes on where it was.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.demo import QUICK, change_params
from benchmarks.record import Row
from flows.grid_checks import CODE
from flows.workspaces import prepare_clone
from tasks.git import git, uncommitted
from tasks.json_lines import add_line, read_lines
from tasks.params import load_params

ROOT = Path(__file__).parents[1]
STORE = ROOT / ".maskloom/benchmarks"

QUICK_LORA = {"steps": 4, "eval_interval": 2, "batch_size": 4, "max_images": 12}
"""An adaptation with which every stage works, and nothing is learnt."""

Changes = dict[str, dict[str, Any]]
"""Section -> key -> value."""


@cache
def committed() -> str:
    """The commit that is measured: the one that is checked out when this is first asked for."""
    return git(["rev-parse", "HEAD"], ROOT).strip()


def refuse_uncommitted(root: Path = ROOT) -> None:
    """Cells compute with the code that lies here, and are kept by the commit.

    Raises:
        SystemExit: code differs from what is committed.
    """
    if changed := uncommitted(root, ["benchmarks/*.py", *CODE]):
        told = "\n".join(changed)
        raise SystemExit(
            f"code that is not committed, and rows are kept by the commit:\n{told}\ncommit it, or "
            "give --quick for a smoke run"
        )


def with_quick(changes: Changes, quick: bool) -> Changes:
    """The changes, on top of the smallest parameters where a smoke run is asked for."""
    merged: Changes = {name: dict(keys) for name, keys in QUICK.items() if quick}
    for name, keys in changes.items():
        merged.setdefault(name, {}).update(keys)
    return merged


def preset_for_anywhere(name: str) -> Changes:
    """A preset whose model and config are found from any root that stages run in."""
    params = load_params(ROOT / f"presets/{name}.yaml").model_dump()
    for section, key in (("sample_images", "model"), ("train_segmenter", "config")):
        params[section][key] = str(ROOT / params[section][key])
    return params


def run_pipeline(changes: Changes, stage: str, kept: Path | None = None) -> dict[str, Any]:
    """Run the pipeline up to a stage in a clone.

    Args:
        changes: to ``params.yaml``.
        kept: the clone, made here if it is not there, and left for the next run; None: a temporary
            one.

    Returns:
        The content of each ``metrics/<name>.json`` by its name, and ``minutes``.

    Raises:
        CalledProcessError: a stage failed.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="maskloom-cell-") as temporary:
        folder = kept or Path(temporary) / "maskloom"
        prepare_clone(ROOT, folder, committed())
        change_params(folder, changes)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        command = [sys.executable, "-m", "dvc", "repro", "--quiet", stage]
        subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, check=True)
        found = {
            file.stem: json.loads(file.read_text(encoding="utf-8"))
            for file in sorted((folder / "metrics").glob("*.json"))
        }
    return found | {"minutes": round((time.monotonic() - started) / 60, 1)}


def run_cells(name: str, cells: Mapping[str, Callable[[], Row]], *, quick: bool) -> list[Row]:
    """The rows of all cells, in their order; those that were finished at this commit are kept.

    Args:
        name: of the benchmark.
        cells: what makes each row, by a key that tells it from the others.
        quick: part of the key of what is kept.

    Raises:
        SystemExit: code is not committed, and it is no smoke run.
    """
    if not quick:
        refuse_uncommitted()
    path, commit = STORE / f"{name}.ndjson", committed()
    rows = {
        item["cell"]: item["row"]
        for item in read_lines(path, {"commit", "quick", "cell", "row"})
        if item["commit"] == commit and item["quick"] == quick
    }
    for key, cell in cells.items():
        if key in rows:
            continue
        rows[key] = cell()
        print(rows[key], flush=True)
        add_line(path, {"commit": commit, "quick": quick, "cell": key, "row": rows[key]})
    return [rows[key] for key in cells]
