"""What every stage's entry does: parameters in, log on stderr, a user's error as one message.

Imports no torch.
"""

import logging
import sys
from collections.abc import Callable

from tasks.params import InputError, Params, load_params


def run_stage(run: Callable[[Params], None]) -> None:
    """Run a stage with the parameters of ``./params.yaml``.

    Args:
        run: the stage's function that reads and writes files.

    Raises:
        SystemExit: with status 1 after an `InputError`, whose message goes to stderr.
    """
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    try:
        run(load_params())
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
