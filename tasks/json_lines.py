"""Files of JSON lines that grow entry by entry, and outlive a kill in the middle of a line."""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def read_lines(path: Path, keys: set[str]) -> Iterator[dict[str, Any]]:
    """The entries that have all ``keys``, the earliest first; none where there is no file.

    A line that cannot be read, such as one that a crash cut short, is told in the log and left out.
    """
    if not path.exists():
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            try:
                entry = json.loads(line)
            except ValueError:
                entry = None
            if isinstance(entry, dict) and keys <= set(entry):
                yield entry
            else:
                log.warning("%s, line %d: is no whole entry; left out", path, number)


def add_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Add an entry at the end; a line before it that was cut short is ended first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = f"{json.dumps(entry, ensure_ascii=False)}\n".encode()
    with open(path, "a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                line = b"\n" + line
        file.write(line)
