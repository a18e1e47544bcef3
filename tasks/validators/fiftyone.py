"""What ``samples.json`` of a FiftyOne dataset says of its files.

FiftyOne opens the paths that stand there, whatever lies in ``data`` and ``fields``.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.validators.findings import IMAGE_SUFFIXES, Finding, is_file, is_inside, lonely

SAMPLES = "samples.json"
MEDIA = "filepath"
PATHS = (MEDIA, "mask_path", "map_path")
"""Keys of a sample, or of a label in it, that name a file."""


def listed(tree: Path, images: str) -> Iterator[Finding]:
    """Paths that lead outside or to no file, and images that no sample names.

    Args:
        tree: the root.
        images: folder of images below it.
    """
    try:
        samples = json.loads((tree / SAMPLES).read_bytes())["samples"]
        if not isinstance(samples, list):
            raise TypeError("its samples are no list")
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        yield Finding(SAMPLES, "unreadable", f"{type(error).__name__}: {error}", "write it again")
        return
    seen: set[str] = set()
    for number, sample in enumerate(samples):
        shown = f"{SAMPLES}: sample {number}"
        paths = list(_paths(sample))
        if MEDIA not in dict(paths):
            yield lonely(shown, f"no {MEDIA}", "name its image, or remove it")
        for key, path in paths:
            if not isinstance(path, str) or not is_inside(path):
                yield Finding(shown, "name", f"{key} {path!r}", "use a path inside the tree")
                continue
            if key == MEDIA:
                if path in seen:
                    yield lonely(shown, f"{path} is listed twice", "list it once")
                seen.add(path)
            if not is_file(tree / path):
                yield lonely(shown, f"{key} {path} is no file", "add it, or remove the sample")
    for path in sorted((tree / images).rglob("*")):
        name = path.relative_to(tree).as_posix()
        if path.suffix.lower() in IMAGE_SUFFIXES and name not in seen:
            yield lonely(name, f"in no sample of {SAMPLES}", "list it, or remove it")


def _paths(sample: Any) -> Iterator[tuple[str, Any]]:
    """Key and value of each file of a sample's document, those of its labels included."""
    labels = sample.values() if isinstance(sample, dict) else ()
    for part in (sample, *labels):
        if isinstance(part, dict):
            yield from ((key, part[key]) for key in PATHS if part.get(key) is not None)
