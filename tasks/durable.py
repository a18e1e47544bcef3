"""Files that appear whole or not at all: after a crash, on a full disk, when the power is cut.

The order matters: the bytes are written, flushed to the disk, the file gets its name, and the name
is flushed to the disk too. Imports no torch.
"""

import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial"
"""Ends the names of files that are being written."""

_numbers = itertools.count()
"""Threads of a process that write the same file have a temporary name each."""


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of ``path`` when the block ends without an error.

    Several processes may write the same ``path`` at once: the last one to finish stays.

    Raises:
        OSError: it cannot be written; nothing is left of it, and ``path`` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f"{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
    partial = path.with_name(f"{path.name}.{writer}{PARTIAL}")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Bring all files below a folder to the disk, and their names."""
    for path in folder.rglob("*"):
        sync_folder(path)  # a file is flushed in the same way
    sync_folder(folder)


def remove_abandoned(folder: Path) -> None:
    """Remove what processes of this machine that are no more have left half written."""
    for path in folder.glob(f"*{PARTIAL}"):
        *_, host, process, _number, _partial = path.name.rsplit(".", 4)
        if host == socket.gethostname() and process.isdecimal() and not _runs(int(process)):
            path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
