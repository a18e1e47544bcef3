"""What is checked of an image, its label map and the maps beside it, whatever tree they lie in."""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tasks.label_maps import BACKGROUND, IGNORE, IGNORE_16_BIT
from tasks.validators.findings import Blob, Classes, Finding, Outcome

MAPS = ("reliability", "uncertainty")
"""Grey maps that our exports put beside the labels."""
LABEL_MODES = ("P", "L", "I;16", "I")
"""Of Pillow: palette, grey, 16-bit grey."""
SHOWN = 4
"""Values that a finding names; the others are counted."""

UNREADABLE: tuple[type[Exception], ...] = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow raises of files that are damaged, cut short or too large."""


@dataclass(frozen=True)
class Pair:
    """An image, its label map and the grey maps beside it.

    Attributes:
        may_be_empty: whether a label map that shows no class is fine, as of rejected samples.
    """

    image: Blob
    label: Blob
    maps: tuple[Blob, ...] = ()
    may_be_empty: bool = False

    def check(self, classes: Classes) -> Outcome:
        """See `Entry.check`."""
        outcome = Outcome(images=1)
        size = check_image(self.image, outcome.findings)
        label = self._check_label(classes, outcome)
        if size and label is not None and size != label:
            outcome.findings.append(
                Finding(
                    self.label.name,
                    "size",
                    f"{_by(label)}, and its image is {_by(size)}",
                    "make both of one size; resize label maps by nearest neighbour",
                )
            )
        for one in self.maps:
            check_map(one, size, outcome.findings)
        return outcome

    def _check_label(self, classes: Classes, outcome: Outcome) -> tuple[int, int] | None:
        try:
            with self.label.open() as opened:
                colours = len(opened.palette.palette) // 3 if opened.palette else 0
                mode, values = opened.mode, np.asarray(opened)
        except UNREADABLE as error:
            outcome.findings.append(unreadable(self.label.name, error))
            return None
        if mode not in LABEL_MODES:
            outcome.findings.append(
                Finding(
                    self.label.name,
                    "mode",
                    f"label map of mode {mode}",
                    "save label values in one channel, as palette (P), grey (L) or 16-bit grey PNG",
                )
            )
            return values.shape[1], values.shape[0]
        if mode == "P" and colours < 256:
            outcome.findings.append(
                Finding(
                    self.label.name,
                    "palette",
                    f"palette of {colours} colours",
                    "write all 256: programs that save it again may renumber its values",
                )
            )
        self._check_values(values, classes, mode, outcome)
        return values.shape[1], values.shape[0]

    def _check_values(
        self, values: np.ndarray, classes: Classes, mode: str, outcome: Outcome
    ) -> None:
        found, counts = count_values(values)
        ignore = IGNORE if mode in ("P", "L") else IGNORE_16_BIT
        outcome.pixels = dict(zip(found, counts, strict=True))
        wrong = [value for value in found if value not in classes.names and value != ignore]
        if classes.names and wrong:
            outcome.findings.append(
                Finding(
                    self.label.name,
                    "values",
                    f"label values {some(wrong)}",
                    f"use 0 to {len(classes.names) - 1}, or {ignore} for what is ignored",
                )
            )
        nothing = {ignore, BACKGROUND} if classes.has_background else {ignore}
        if not self.may_be_empty and nothing.issuperset(found):
            outcome.findings.append(
                Finding(
                    self.label.name,
                    "empty",
                    "no pixel of any class",
                    "label the image, or leave it out",
                )
            )


def check_image(image: Blob, findings: list[Finding]) -> tuple[int, int] | None:
    """Decode an image; its (width, height), or None if that fails."""
    try:
        with image.open() as opened:
            opened.load()
            mode, size = opened.mode, opened.size
    except UNREADABLE as error:
        findings.append(unreadable(image.name, error))
        return None
    if mode != "RGB":
        findings.append(
            Finding(image.name, "mode", f"image of mode {mode}", "convert it to 8-bit RGB")
        )
    return size


def check_map(blob: Blob, size: tuple[int, int] | None, findings: list[Finding]) -> None:
    """Decode a grey map, and compare it with its image's (width, height), where that is known."""
    try:
        with blob.open() as opened:
            opened.load()
            mode, found = opened.mode, opened.size
    except UNREADABLE as error:
        findings.append(unreadable(blob.name, error))
        return
    if mode != "L":
        findings.append(Finding(blob.name, "mode", f"map of mode {mode}", "save 8-bit grey"))
    if size and found != size:
        findings.append(
            Finding(
                blob.name,
                "size",
                f"{_by(found)}, and its image is {_by(size)}",
                "make both of one size",
            )
        )


def count_values(values: np.ndarray) -> tuple[list[int], list[int]]:
    """The values of a label map ``(H, W)`` and their pixels, ascending."""
    if values.dtype == np.uint8:
        counts = np.bincount(values.ravel(), minlength=1)
        found = np.flatnonzero(counts)
        return found.tolist(), counts[found].tolist()
    found, counts = np.unique(values, return_counts=True)
    return found.tolist(), counts.tolist()


def unreadable(name: str, error: Exception) -> Finding:
    """Of a file that cannot be decoded."""
    what = str(error).partition("\n")[0] or type(error).__name__
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return Finding(name, "too large", what, "split it into tiles")
    return Finding(name, "unreadable", what, "replace or remove the file")


def some(values: list[int]) -> str:
    """The first values, and how many more there are."""
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(map(str, values[:SHOWN])) + more


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
