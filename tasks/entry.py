"""What every entry does: log on stderr, a user's error as one message; a stage gets its parameters.

Imports no torch.
"""

import errno
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import cyclopts
import yaml

from tasks.params import InputError, Params, load_params

GO_ON = "and run again: what is finished is kept"
DISK_REMEDIES = {
    errno.ENOSPC: f"make room (`python -m tasks.shards prune` shows what old runs left) {GO_ON}",
    errno.EDQUOT: f"raise the quota, or make room as for a full disk, {GO_ON}",
    errno.EROFS: f"mount it for writing {GO_ON}",
    errno.EACCES: f"give this user the right to read it, or to write there, {GO_ON}",
    errno.EIO: f"the disk may be failing: check it {GO_ON}",
}
"""What to do about errors of the operating system that are not the program's."""


def run_stage(run: Callable[[Params], None]) -> None:
    """Run a stage with the parameters of ``./params.yaml``.

    Args:
        run: the stage's function that reads and writes files, or a `partial` of it.

    Raises:
        SystemExit: with status 1 after an `InputError`, whose message goes to stderr, or where the
            disk is full, or cannot be read or written, or what an earlier stage makes is missing.
    """
    with _told_on_stderr():
        params = load_params()
        try:
            run(params)
        except (FileNotFoundError, InputError) as error:
            # Not each of them tells that an earlier stage makes what is missing: the graph does.
            function = run.func if isinstance(run, partial) else run
            stage = Path(function.__code__.co_filename).stem
            missing = missing_inputs(stage)
            if not missing:
                raise
            verb = "is" if len(missing) == 1 else "are"
            said = f"{error}\n" if isinstance(error, InputError) else ""
            raise InputError(
                f"{said}{', '.join(missing)} {verb} missing: run `dvc repro {stage}`, which makes "
                "what the stage reads first"
            ) from None


def missing_inputs(stage: str, graph: Path = Path("dvc.yaml")) -> list[str]:
    """What a stage reads of the stages before it and is not there.

    Args:
        stage: its name in ``dvc.yaml``.
        graph: ``dvc.yaml``; without it nothing is known to be missing.
    """
    if not graph.is_file():
        return []
    stages = yaml.safe_load(graph.read_text(encoding="utf-8"))["stages"]
    makers = {out: name for name, other in stages.items() for out in stage_writes(other)}
    return [
        dep
        for dep in stages.get(stage, {}).get("deps", [])
        if not (graph.parent / dep).exists() and maker_of(dep, makers)
    ]


def stage_writes(stage: Mapping[str, Any]) -> dict[str, bool]:
    """What a stage of ``dvc.yaml`` writes: path -> whether DVC caches it."""
    found = {}
    for out in chain.from_iterable(stage.get(kind, []) for kind in ("outs", "metrics", "plots")):
        path, options = next(iter(out.items())) if isinstance(out, dict) else (out, {})
        found[path] = options.get("cache", True)
    return found


def maker_of(path: str, makers: Mapping[str, str]) -> str | None:
    """The stage that writes a path, or a folder around it; None: no stage does.

    Args:
        path: from the repository root.
        makers: what is written -> its stage.
    """
    around = (path, *map(str, Path(path).parents))
    return next((makers[each] for each in around if each in makers), None)


def run_tool(app: cyclopts.App) -> None:
    """Run the command line of what is no stage.

    Raises:
        SystemExit: as `run_stage`.
    """
    with _told_on_stderr():
        app()


@contextmanager
def _told_on_stderr() -> Iterator[None]:
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    try:
        yield
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        remedy = DISK_REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(f"disk: {error.strerror or error}{where}; {remedy}", file=sys.stderr)
        raise SystemExit(1) from None
