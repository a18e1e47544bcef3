"""MD5 as DVC makes it: of a file, and of a folder by the list of its files.

MD5 is what DVC names contents by; it tells accidents, not attacks. Imports no torch.
"""

import hashlib
import json
from pathlib import Path


def file_md5(path: Path) -> str:
    """The MD5 of a file as 32 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def folder_md5(members: dict[str, str]) -> str:
    """What ``dvc.lock`` calls a folder, ``<md5>.dir``.

    Args:
        members: name in the folder, with slashes -> MD5.
    """
    entries = [{"md5": members[name], "relpath": name} for name in sorted(members)]
    text = json.dumps(entries, sort_keys=True)
    return f"{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}.dir"
