"""What every entry does: log on stderr, a user's error as one message; a stage gets its parameters.

Imports no torch.
"""

import errno
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cyclopts

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
        run: the stage's function that reads and writes files.

    Raises:
        SystemExit: with status 1 after an `InputError`, whose message goes to stderr, or where the
            disk is full, or cannot be read or written.
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
    except OSError as error:
        remedy = DISK_REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(f"disk: {error.strerror or error}{where}; {remedy}", file=sys.stderr)
        raise SystemExit(1) from None
