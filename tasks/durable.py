"""Files that appear whole or not at all: after a crash, on a full disk, when the power is cut.

The order matters: the bytes are written, flushed to the disk, the file gets its name, and the name
is flushed to the disk too. Imports no torch.
"""

import itertools
import os
import re
import shutil
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
    partial = partial_name(path)
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def partial_name(path: Path) -> Path:
    """A name to make a file or folder under, which no other process and no other thread takes."""
    writer = f"{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
    return path.with_name(f"{path.name}.{writer}{PARTIAL}")


def sync(path: Path) -> None:
    """Bring a file's bytes, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Bring all files below a folder to the disk, and their names."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def remove_abandoned(folder: Path) -> None:
    """Remove the files and folders that processes that are no more have left half written.

    Of processes of this machine: whether those of another run cannot be seen.
    """
    mine = re.compile(rf"\.{re.escape(socket.gethostname())}\.(\d+)\.\d+{re.escape(PARTIAL)}$")
    for path in folder.glob(f"*{PARTIAL}"):
        written_by = mine.search(path.name)
        if written_by and not _runs(int(written_by[1])):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
