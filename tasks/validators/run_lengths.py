"""COCO's run lengths, read without the C code that trusts them.

Runs of a mask in column order, zeros first. Compressed, each is a string of 5-bit groups in the
characters from "0" on, lowest first, bit 6 of a character saying that more follow and bit 5 of the
last one the sign; from the fourth run on, the difference to the run before the last is written
(``rleToString`` of pycocotools).
"""

from typing import Any

import numpy as np

MOST_GROUPS = 7
"""Of a run; 35 bits are more than any image has pixels."""


def decompress(text: str) -> np.ndarray:
    """The runs of a compressed mask, ``int64 (N,)``.

    Raises:
        ValueError: ``text`` is none.
    """
    codes = np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int64) - 48
    if codes.size == 0:
        return codes
    if codes.min() < 0 or codes.max() > 63:
        raise ValueError("characters that no run length has")
    ends = np.flatnonzero(codes & 0x20 == 0)
    if ends.size == 0 or ends[-1] != codes.size - 1:
        raise ValueError("the last run length is cut short")
    starts = np.concatenate([[0], ends[:-1] + 1])
    groups = ends - starts + 1
    if groups.max() > MOST_GROUPS:
        raise ValueError("a run length of too many digits")
    place = np.arange(codes.size) - np.repeat(starts, groups)
    runs = np.add.reduceat((codes & 0x1F) << (5 * place), starts)
    runs -= np.where(codes[ends] & 0x10, np.int64(1) << (5 * groups), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def area(segmentation: dict[str, Any], height: int, width: int) -> int:
    """The pixels of a mask, its form checked.

    Args:
        segmentation: ``{"size": [height, width], "counts": string or list}``.
        height: of the image.
        width: of the image.

    Raises:
        ValueError: saying what is wrong with it.
    """
    if segmentation.get("size") != [height, width]:
        raise ValueError(f"a mask of size {segmentation.get('size')} [height, width]")
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        runs = decompress(counts)
    elif isinstance(counts, list) and all(type(count) is int for count in counts):
        if counts and max(map(abs, counts)) > height * width:
            raise ValueError("run lengths beyond the image")
        runs = np.array(counts, np.int64)
    else:
        raise ValueError("counts that are neither a string nor a list of integers")
    if runs.size and (runs.min() < 0 or runs.max() > height * width):
        raise ValueError("run lengths below 0 or beyond the image")
    if runs.sum() != height * width:
        raise ValueError(f"run lengths for {runs.sum()} pixels of {height * width}")
    return int(runs[1::2].sum())
