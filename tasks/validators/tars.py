"""WebDataset's tar shards, read member by member and never unpacked."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

from tasks.validators.findings import (
    IMAGE_SUFFIXES,
    Blob,
    Classes,
    Entry,
    Finding,
    Tree,
    is_inside,
    lonely,
)
from tasks.validators.pairs import MAPS, Pair

LABELS = ("label", "mask", "seg", "segmentation", "annotation")
"""What a label map's extension begins with, as in ``0001.label.png``."""
MOST_BYTES = 2**28
"""Of a member; a larger one is not read."""
UNREADABLE = (tarfile.TarError, OSError, EOFError, ValueError)
"""What tarfile raises of a damaged shard; ValueError of PAX headers that hold no numbers."""


def open_shards(tree: Path, classes: Classes) -> Tree:
    """All ``*.tar`` below a folder."""
    shards = sorted(tree.rglob("*.tar"))
    total = sum(_count(path) for path in shards)
    return Tree("webdataset", classes, total, _entries(tree, shards))


def split_name(name: str) -> tuple[str, str]:
    """Key and extension: a member's name at the first dot behind its last slash."""
    folder, slash, last = name.rpartition("/")
    stem, _, extension = last.partition(".")
    return f"{folder}{slash}{stem}", extension.lower()


def kind_of(extension: str) -> str | None:
    """image, label, reliability or uncertainty; None of what is no picture."""
    if f".{extension.rpartition('.')[2]}" not in IMAGE_SUFFIXES:
        return None
    first = extension.partition(".")[0]
    if first in LABELS:
        return "label"
    return first if first in MAPS else "image"


def _members(path: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    with tarfile.open(path, "r:") as tar:
        while (member := tar.next()) is not None:
            yield tar, member
            tar.members = []  # type: ignore[attr-defined]  # they would all be kept


def _count(path: Path) -> int:
    try:
        return sum(kind_of(split_name(member.name)[1]) == "image" for _, member in _members(path))
    except UNREADABLE:
        return 0  # said by `_entries`


def _entries(tree: Path, shards: list[Path]) -> Iterator[Entry | Finding]:
    for path in shards:
        shown = path.relative_to(tree).as_posix()
        try:
            yield from _samples(path, shown)
        except UNREADABLE as error:
            yield Finding(shown, "unreadable", str(error), "write the shard again")


def _samples(path: Path, shown: str) -> Iterator[Entry | Finding]:
    key = ""
    held: dict[str, Blob] = {}
    seen: set[str] = set()
    for tar, member in _members(path):
        name = f"{shown}: {member.name}"
        if not is_inside(member.name):
            yield Finding(name, "name", "leads outside the archive", "store plain names")
        if member.isdir():
            continue
        if not member.isreg():
            yield Finding(name, "name", "is a link or device, not a file", "store the file itself")
            continue
        of, extension = split_name(member.name)
        kind = kind_of(extension)
        if of != key:
            yield from _sample(shown, key, held)
            if of in seen:
                yield Finding(
                    name,
                    "pair",
                    "the members of a sample do not follow each other",
                    "write all files of a sample in a row, and each once",
                )
            seen.add(of)
            key, held = of, {}
        if kind is None:
            continue
        if member.size > MOST_BYTES:
            yield Finding(name, "too large", f"{member.size} bytes", "split it into tiles")
            continue
        if kind in held:
            yield lonely(name, f"a second {kind} of this sample", "keep one")
            continue
        file = tar.extractfile(member)
        data = file.read() if file else b""
        held[kind] = Blob(name, data)
    yield from _sample(shown, key, held)


def _sample(shown: str, key: str, held: dict[str, Blob]) -> Iterator[Entry | Finding]:
    if "image" in held and "label" in held:
        maps = tuple(held[kind] for kind in MAPS if kind in held)
        rejected = Path(shown).name.startswith("rejected-")
        yield Pair(held["image"], held["label"], maps, rejected)
    elif "image" in held:
        yield lonely(f"{shown}: {key}", "no label map", f"add {key}.label.png, or leave it out")
    elif held:
        yield lonely(f"{shown}: {key}", "no image", f"add {key}.png, or leave it out")
