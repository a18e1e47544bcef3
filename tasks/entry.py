"""What every entry does: log on stderr, a user's error as one message; a stage gets its parameters.

Imports no torch.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cyclopts

from tasks.params import InputError, Params, load_params


def run_stage(run: Callable[[Params], None]) -> None:
    """Run a stage with the parameters of ``./params.yaml``.

    Args:
        run: the stage's function that reads and writes files.

    Raises:
        SystemExit: with status 1 after an `InputError`, whose message goes to stderr.
    """
    with _told_on_stderr():
        run(load_params())


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
