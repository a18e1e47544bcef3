"""The flow ``compare``: a grid of settings and seeds through the pipeline, each stage once.

A run works in a clone of the committed state, with the grid's parameters in place of
``params.yaml``. The clones share this repository's DVC cache: a stage whose code, parameters and
inputs are the same as in any run before is fetched from there, so a grid over training settings
samples once a seed. Finished runs are kept below ``.maskloom/compare``; a grid that was stopped
goes on where it was, and one whose code has changed runs again what the change touches.
"""

import json
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cyclopts
import yaml
from cyclopts import Parameter
from cyclopts.types import PositiveInt
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, as_completed
from rich.console import Console
from rich.table import Table

from flows.comparison import Row, Verdict, judge, markdown, summarise, write
from flows.finished_runs import Finished
from flows.grid_checks import checked, left_out
from flows.grids import Cell, Grid, grid_names, read_grid, waits
from flows.processes import exit_on_signals
from flows.run_log import only_run
from flows.stage_output import StageOutput
from flows.synthesize import child_environment
from flows.temporary_server import own_temporary_server
from flows.workspaces import WORK, Workspaces
from tasks.params import InputError
from tasks.version import project_version

RESULTS = Path("comparisons")


class RunFailed(Exception):
    """A run of the grid failed; the others are finished."""


@dataclass(frozen=True)
class Compared:
    """A grid that has run.

    Attributes:
        grid: as it was when it started.
        commit: that its runs worked in.
        rows: one for each run, in the grid's order: setting, seed, value, the columns of ``also``,
            minutes.
    """

    grid: Grid
    commit: str
    rows: list[Row]


@task(task_run_name="{cell.name}", cache_policy=NO_CACHE, persist_result=False)
def run_cell(cell: Cell, grid: Grid, spaces: Workspaces, threads: int) -> Row:
    """Run the pipeline with one setting and seed, and read what it measured.

    Args:
        threads: of the numeric libraries in the stages.

    Raises:
        InputError: what is compared is no number of ``metrics``, or nothing measured it.
        RunFailed: a stage failed; the message ends with what it said last.
    """
    log, output = get_run_logger(), StageOutput()
    clock = time.monotonic()
    with spaces.one() as folder:
        params = spaces.inputs.link(cell.params, folder)
        text = yaml.safe_dump(params, sort_keys=False, allow_unicode=True)
        (folder / "params.yaml").write_text(text, encoding="utf-8")

        def tell(line: str) -> None:
            if (said := output.read(line)) is not None:
                log.info("%s", said)

        command = [sys.executable, "-m", "dvc", "--cd", str(folder), "repro", grid.stage]
        env = {**child_environment(), "OMP_NUM_THREADS": str(threads)}
        status = spaces.commands.run(command, tell, env)
        if status:
            last = "\n".join(output.last_words)
            raise RunFailed(f"exit status {output.exit_status or status}\n{last}")
        found = {
            column: read_metric(folder, key)
            for column, key in {"value": cell.measure, **grid.also}.items()
        }
    if found["value"] is None:
        raise InputError(
            f"{cell.measure}: is null, as this run had nothing to measure it with; set what it "
            "needs, such as evaluate_segmenter.test_set or adapt_lora.adapter, or name another "
            "number as `measure`"
        )
    row = {"setting": cell.setting, "seed": cell.seed, **found}
    return row | {"minutes": round((time.monotonic() - clock) / 60, 1)}


def read_metric(folder: Path, key: str) -> float | None:
    """A number of ``metrics``: "evaluation.miou" is ``miou`` of ``metrics/evaluation.json``.

    Returns:
        The number; None where the run did not measure it.

    Raises:
        InputError: there is no such file or key, or it holds no number.
    """
    name, *parts = key.split(".")
    try:
        value = json.loads((folder / f"metrics/{name}.json").read_text(encoding="utf-8"))
        for part in parts:
            value = value[part]
    except (FileNotFoundError, KeyError, TypeError):
        raise InputError(f"{key}: no such number in metrics/{name}.json") from None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        near = f", such as {key}.{next(iter(value))}" if isinstance(value, dict) and value else ""
        raise InputError(f"{key}: metrics/{name}.json holds no number there; name one{near}")
    return float(value)


@flow(name="compare")
def compare(grid_name: str, jobs: int = 1, root: Path = Path()) -> Compared:
    """Run a grid and leave its table and plot in ``comparisons/<grid>``.

    Args:
        grid_name: a file of ``presets/compare``.
        jobs: runs at a time, each with its share of the cores.
        root: the repository.

    Raises:
        InputError: the grid breaks a rule, there is no such grid, or it is not committed.
        RunFailed: some runs failed; the others are finished, and in the table.
    """
    root = root.resolve()
    grid, order, commit = checked(grid_name, root)
    if changed := left_out(root):
        get_run_logger().warning(
            "not committed, so not part of what is compared:\n%s", "\n".join(changed)
        )
    spaces = Workspaces(root, jobs, commit)
    finished = Finished(root / WORK / f"{grid_name}.ndjson", spaces.inputs)
    with only_run(root / WORK):
        try:
            rows = _run(grid_name, grid, order, finished, spaces, jobs)
        except BaseException:  # a signal: Prefect waits for its threads, and they for the stages
            spaces.commands.end()
            raise
    return Compared(grid, commit, rows)


def _run(
    grid_name: str,
    grid: Grid,
    order: list[Cell],
    finished: Finished,
    spaces: Workspaces,
    jobs: int,
) -> list[Row]:
    """Submit the runs that are missing, and write what is known after each."""
    log = get_run_logger()
    rows: list[Row | None] = [finished.get(cell, grid) for cell in order]
    threads = max(1, (os.cpu_count() or 1) // jobs)
    todo = [position for position, row in enumerate(rows) if row is None]
    count = len(todo)
    log.info("%s: %d runs, %d finished before", grid_name, len(order), len(order) - count)
    started, failed = time.monotonic(), []
    earlier = waits(order)
    running: dict[PrefectFuture[Row], int] = {}
    while todo or running:
        open_ones = {*todo, *running.values()}
        ready = [position for position in todo if not earlier[position] & open_ones]
        for position in ready[: jobs - len(running)]:
            todo.remove(position)
            cell = order[position]
            future = run_cell.submit(cell, grid, spaces, threads)
            running[future] = position
        future = next(as_completed(list(running)))
        position = running.pop(future)
        try:
            rows[position] = row = future.result()
        except Exception as error:  # of a stage, of Prefect: the other runs go on all the same
            failed.append(f"{order[position].name}: {error}")
            log.error("%s", failed[-1])  # noqa: TRY400  # the trace is in the run's own log
            continue
        finished.add(order[position], grid, row)
        write(grid, in_order(grid, rows), spaces.root / RESULTS / grid_name)
        open_count = len(todo) + len(running)
        each = (time.monotonic() - started) / (count - open_count)
        log.info(
            "%s: %s; %d of %d runs, about %.0f min left",
            order[position].name,
            row["value"],
            len(order) - open_count,
            len(order),
            each * open_count / 60,
        )
    known = in_order(grid, rows)
    write(grid, known, spaces.root / RESULTS / grid_name)
    key = "-".join(["compare", *re.findall("[a-z0-9]+", grid_name.lower())])  # Prefect's rule
    create_markdown_artifact(markdown(grid, known), key, grid.title)
    if failed:
        raise RunFailed("\n".join(failed))
    return known


def in_order(grid: Grid, rows: list[Row | None]) -> list[Row]:
    """The rows that are there, setting by setting, seed by seed."""
    names = list(grid.settings)
    known = [row for row in rows if row is not None]
    return sorted(
        known, key=lambda row: (names.index(row["setting"]), grid.seeds.index(row["seed"]))
    )


def list_grids(root: Path = Path()) -> None:
    """Print what there is to compare."""
    table = Table("grid", "runs", "what is asked")
    for name in grid_names(root):
        grid = read_grid(name, root)
        table.add_row(name, str(len(grid.settings) * len(grid.seeds)), grid.title)
    Console().print(table)


def main(
    *grids: Annotated[str, Parameter(help="files of presets/compare; none: list them")],
    jobs: Annotated[PositiveInt, Parameter(help="runs at a time, which share the cores")] = 1,
    keep: Annotated[bool, Parameter(help="keep the clones for the next grid")] = True,
) -> None:
    """Compare settings: run each with each seed, and show means, deviations and gains.

    Raises:
        InputError: a grid breaks a rule; nothing was run.
        RunFailed: some runs failed; the other grids have run.
    """
    exit_on_signals()
    if not grids:
        list_grids()
        return
    for name in grids:
        checked(name, Path())
    own_temporary_server()
    held, failed = True, []
    for name in grids:
        try:
            found = compare(name, jobs)
        except (RunFailed, InputError) as error:  # the other grids run all the same
            failed.append(f"{name}: {error}")
            continue
        verdicts = judge(found.grid, found.rows)
        _show(name, found.grid, found.rows, verdicts)
        held &= all(verdict.holds for verdict in verdicts)
    if not keep:
        for folder in WORK.glob("workspace-*"):
            shutil.rmtree(folder)
    if failed:
        raise RunFailed("\n".join(failed))
    if not held:
        raise SystemExit(1)


def _show(name: str, grid: Grid, rows: list[Row], verdicts: list[Verdict]) -> None:
    console = Console()
    for title, lines in (
        (f"{name}: {grid.title}", summarise(grid, rows)),
        ("claims", [vars(verdict) for verdict in verdicts]),
    ):
        if lines:
            table = Table(*lines[0], title=title, title_justify="left")
            for line in lines:
                table.add_row(*map(str, line.values()))
            console.print(table)
    console.print(f"Table, plot and runs: {(RESULTS / name).resolve()}", soft_wrap=True)


app = cyclopts.App(name="python -m flows.compare", help=main.__doc__, version=project_version)
app.default(main)

if __name__ == "__main__":
    try:
        app()  # what is logged is Prefect's to show: it tells which run each line is of
    except KeyboardInterrupt:
        print("Stopped. Finished runs are kept; the same command goes on.", file=sys.stderr)
        raise SystemExit(130) from None
    except (InputError, RunFailed) as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
