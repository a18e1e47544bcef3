"""Whether a path can be written at all, told before anything is computed for it."""

import os
import tempfile
from pathlib import Path

from tasks.params import InputError


def check_writable(path: Path, key: str = "") -> None:
    """Try to write in the nearest folder above a path that is there.

    Args:
        path: the file or folder to come.
        key: what it was asked by, for the message.

    Raises:
        InputError: a part of the path is a file, or its folder takes none.
    """
    absolute = Path(os.path.abspath(path))
    above = next(parent for parent in absolute.parents if os.path.lexists(parent))
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        what = "is no folder" if not above.is_dir() else f"takes no file ({error.strerror})"
        told = f"{key}: {path}" if key else f"{path}"
        raise InputError(
            f"{told} cannot be written: {above} {what}; choose a place in a folder of yours"
        ) from None
