"""What checking a tree is told in: findings, classes, entries, outcomes.

An entry is an image with what belongs to it; a tree is its layout's name and its entries.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from PIL import Image

from tasks.label_maps import IGNORE, IGNORE_16_BIT

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
"""Pillow's decoders that are let near the data; others, such as PostScript's, start programs."""
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True)
class Finding:
    """A rule that a file breaks.

    Attributes:
        file: its path from the tree's root, or the place inside a shard or table.
        rule: a word, the same for all findings of one kind.
        found: what breaks it.
        remedy: what to do about it.
    """

    file: str
    rule: str
    found: str
    remedy: str


@dataclass(frozen=True)
class Classes:
    """What label values may be.

    Attributes:
        names: label value, or id of COCO's category -> name; empty where nobody said.
        has_background: whether value 0 is what is no class.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    has_background: bool = True

    def name(self, value: int) -> str:
        """What a label value is called."""
        ignored = "ignore" if value in (IGNORE, IGNORE_16_BIT) else ""
        return self.names.get(value, ignored)


@dataclass(frozen=True)
class Blob:
    """A file on disk or in a shard.

    Attributes:
        name: what to call it in a finding.
        data: its contents, or where they lie.
    """

    name: str
    data: bytes | Path

    def open(self) -> Image.Image:
        """The picture, not decoded yet.

        Raises:
            OSError: it is no picture, or no file: reading a pipe would never end.
        """
        if isinstance(self.data, bytes):
            return Image.open(io.BytesIO(self.data), formats=FORMATS)
        if not self.data.is_file():
            raise FileNotFoundError("no such file")
        return Image.open(self.data, formats=FORMATS)


@dataclass
class Outcome:
    """What checking found.

    Attributes:
        findings: the rules that were broken.
        pixels: label value -> pixels; each value once an image.
        images: how many images were looked at.
    """

    findings: list[Finding] = field(default_factory=list)
    pixels: dict[int, int] = field(default_factory=dict)
    images: int = 0


class Entry(Protocol):
    """An image with what belongs to it."""

    def check(self, classes: Classes) -> Outcome:
        """Decode and compare; runs in a thread of its own."""
        ...


@dataclass(frozen=True)
class Tree:
    """A tree to check.

    Attributes:
        form: the layout's name.
        classes: what label values may be.
        total: images, for the progress.
        entries: what is to be checked, and what was found wrong on the way to it.
    """

    form: str
    classes: Classes
    total: int
    entries: Iterator[Entry | Finding]


def lonely(name: str, found: str, remedy: str) -> Finding:
    """Of a file without the one that belongs to it."""
    return Finding(name, "pair", found, remedy)


def is_file(path: Path) -> bool:
    """Whether it is a file; a name that somebody wrote into a file may be too long for any."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_inside(name: str) -> bool:
    """Whether a path that somebody wrote into a file stays below the folder it is relative to."""
    parts = name.replace("\\", "/").split("/")
    plain = all(c >= " " for c in name) and ":" not in parts[0]
    return bool(name) and plain and not name.startswith(("/", "\\")) and ".." not in parts
