"""The grids of ``presets/compare`` as measurements: their tables and claims, with the machine.

A thin way from `flows.compare` to ``results/``; a claim of the grid is a bar. Runs that are
finished at this commit are not run again.
"""

import sys
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter
from cyclopts.types import PositiveInt

from benchmarks.record import RESULTS, Bar, finish, what_ran
from flows.compare import RunFailed, compare
from flows.comparison import judge, summarise
from flows.grid_checks import checked
from flows.grids import grid_names
from flows.processes import exit_on_signals
from tasks.params import InputError

ROOT = Path(__file__).parents[1]


def measure(name: str, jobs: int, root: Path = ROOT, folder: Path = RESULTS) -> None:
    """Run a grid and write its result, ``compare_<grid>``.

    Raises:
        SystemExit: with status 1 when a claim does not hold.
        InputError: the grid breaks a rule.
        RunFailed: a run failed, so that there is no result.
    """
    found = compare(name, jobs, root)
    grid, rows = found.grid, found.rows
    ran = what_ran(
        asked=grid.title,
        commit=found.commit[:12],
        seeds=", ".join(map(str, grid.seeds)),
        minutes=f"{sum(row['minutes'] for row in rows):.0f}, without what was computed before",
    )
    bars = [Bar(**vars(verdict)) for verdict in judge(grid, rows)]
    finish(f"compare_{name}", ran, summarise(grid, rows), bars, folder)


def main(
    *grids: Annotated[str, Parameter(help="files of presets/compare; none: all but quick")],
    jobs: Annotated[PositiveInt, Parameter(help="runs at a time, which share the cores")] = 2,
) -> None:
    """Run grids, and record their tables and claims."""
    exit_on_signals()
    names = grids or [name for name in grid_names(ROOT) if name != "quick"]
    try:
        for name in names:
            checked(name, ROOT)
    except InputError as error:
        raise SystemExit(str(error)) from None
    missed, failed = [], []
    for name in names:
        try:
            measure(name, jobs)
        except (RunFailed, InputError) as error:  # the files may have changed meanwhile
            failed.append(f"{name}: {error}")
        except SystemExit as end:
            if end.code != 1:  # a signal: it ends all of them
                raise
            missed.append(name)
    for told in failed:
        print(told, file=sys.stderr)
    if missed or failed:
        raise SystemExit(1)


if __name__ == "__main__":
    cyclopts.run(main)
