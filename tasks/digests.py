"""SHA-256 of files and folders, remembered by what the file system says of them.

A file is read again only when its size or its modification time changed, so that a model of many
gigabytes is hashed once. Imports no torch.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasks.durable import new_file

CACHE_PATH = Path(".maskloom/digest_cache.json")
"""Where the digests are remembered, from the repository root."""


class DigestCache:
    """SHA-256 of files by (absolute path, size, mtime_ns), kept in a JSON file.

    The file is only a memory: one that is missing or damaged costs the time to hash again.

    Args:
        path: the JSON file; its folder is made by `save`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._changed = False
        self._known: dict[str, Any] = {}
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = None
        if isinstance(known, dict):
            self._known = known

    def file(self, path: Path) -> str:
        """The SHA-256 of a file as 64 hex digits; symbolic links are followed.

        Raises:
            OSError: the file cannot be read.
        """
        stat = path.stat()
        key, state = os.path.abspath(path), [stat.st_size, stat.st_mtime_ns]
        entry = self._known.get(key)
        if isinstance(entry, list) and entry[:2] == state:
            return str(entry[2])
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._known[key] = [*state, digest]
        self._changed = True
        return digest

    def save(self) -> None:
        """Write what was learnt; does nothing where nothing was."""
        if self._changed:
            with new_file(self.path) as file:
                file.write(json.dumps(self._known, sort_keys=True).encode())
            self._changed = False


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, sorted by relative name, but for names that begin with a dot."""
    found = [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def file_digests(folder: Path, files: Iterable[Path], cache: DigestCache) -> dict[str, str]:
    """Relative name -> SHA-256, in the order of ``files``."""
    return {path.relative_to(folder).as_posix(): cache.file(path) for path in files}


def combine(digests: dict[str, str]) -> str:
    """One SHA-256 of names and contents, whatever their order and wherever the folder lies."""
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()
