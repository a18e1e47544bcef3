"""Near duplicates: a 64-bit perceptual hash of every image, and an index that finds close ones.

The hash is pHash (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions",
2010): the signs of the 8x8 lowest frequencies of a 32x32 picture, without the constant ones. The
index is multi-index hashing (Norouzi et al., CVPR 2012): hashes that differ in at most d bits agree
in some part of it, so only rows that share a part are compared. Few hashes, or a large d, have more
keys than are worth it: then all are compared with all.
"""

from collections.abc import Iterator
from functools import cache
from itertools import combinations, pairwise
from math import comb

import cv2
import numpy as np

SIDE, KEPT = 32, 8
BITS = KEPT * KEPT
NONE = -1
"""In place of a row's nearest earlier one where there is none."""
ROWS_A_KEY = 64
"""A pass over the rows by one key takes as long as comparing each with about so many."""
AT_ONCE = 1 << 18
"""Pairs of hashes that are held at a time."""


@cache
def _frequencies() -> np.ndarray:
    """Rows 1 to 8 of the type-II DCT of length 32: ``float32 (8, 32)``."""
    k, n = np.arange(1, KEPT + 1)[:, None], np.arange(SIDE)[None]
    return np.cos(np.pi * k * (2 * n + 1) / (2 * SIDE)).astype(np.float32)


def shrink(luma: np.ndarray) -> np.ndarray:
    """What the hash is made from: ``uint8 (H, W)`` averaged to ``float32 (32, 32)``."""
    size = (SIDE, SIDE)
    small: np.ndarray = cv2.resize(luma.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return small


def perceptual_hash(small: np.ndarray) -> np.ndarray:
    """Shrunken images ``float32 (N, 32, 32)`` to ``uint64 (N,)``; a bit is above the median or not.

    A flat image has no frequencies and the hash 0.
    """
    frequencies = _frequencies()
    found = (frequencies @ small @ frequencies.T).reshape(-1, BITS)
    found[np.abs(found) < 1e-2] = 0  # what rounding leaves of a flat image
    above = found > np.median(found, axis=1, keepdims=True)
    return np.packbits(above, axis=1).view(">u8").astype(np.uint64).ravel()


def nearest_earlier(hashes: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row the nearest of the rows before it, at most ``most`` bits away.

    Time grows with the number of rows as long as hashes of different pictures spread over the keys,
    and those are fewer than comparing all with all takes; memory does not depend on how many pairs
    there are.

    Args:
        hashes: ``uint64 (N,)``, in the order in which the first one is the original.

    Returns:
        Row numbers, or -1 where there is none, and distances in bits, ``int64 (N,)`` both. Of
        equally near ones it is the first.
    """
    unique, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    count = len(hashes)
    rows = np.arange(count)
    # A copy's nearest is its original; originals are looked up by the index.
    nearest = np.where(rows == first[inverse], NONE, first[inverse])
    distance = np.zeros(count, np.int64)
    if most and len(unique) > 1:
        order = np.argsort(first)
        originals = first[order]
        equal = _bands_of_a_key(len(order), most)
        few = comb(most + equal, equal) * ROWS_A_KEY < len(order)
        found, bits = _index(unique[order], most) if few else _all(unique[order], most)
        there = found != NONE
        nearest[originals[there]] = originals[found[there]]
        distance[originals[there]] = bits[there]
    return nearest, distance


def _all(hashes: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """`_index` by comparing each with all before it, some rows at a time."""
    count = len(hashes)
    nearest, distance = np.full(count, NONE), np.zeros(count, np.int64)
    height = max(1, AT_ONCE // count)
    for first in range(0, count, height):
        own = hashes[first : first + height]
        bits = np.bitwise_count(own[:, None] ^ hashes[None, : first + len(own)])
        bits[:, first:][np.triu_indices(len(own))] = BITS + 1  # itself, and those after it
        best = bits.argmin(1)  # the first of equals
        least = bits[np.arange(len(own)), best].astype(np.int64)
        close = least <= most
        nearest[first : first + height] = np.where(close, best, NONE)
        distance[first : first + height] = np.where(close, least, 0)
    return nearest, distance


def _index(hashes: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """`nearest_earlier` for hashes that are all different."""
    count = len(hashes)
    # Distance in the high bits, row in the low ones: the minimum is the nearest, then the first.
    best = np.full(count, np.iinfo(np.int64).max)
    for key in _keys(hashes, most):
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        start = np.arange(count - 1)
        step = 1
        while True:
            start = start[start + step < count]
            start = start[ordered[start] == ordered[start + step]]
            if not len(start):
                break
            earlier, later = order[start], order[start + step]
            bits = np.bitwise_count(hashes[earlier] ^ hashes[later]).astype(np.int64)
            close = bits <= most
            np.minimum.at(best, later[close], bits[close] << 40 | earlier[close])
            step += 1
    there = best != np.iinfo(np.int64).max
    return np.where(there, best & (1 << 40) - 1, NONE), np.where(there, best >> 40, 0)


def _keys(hashes: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Keys such that hashes at most ``most`` bits apart have one of them in common.

    The 64 bits are cut into ``most + r`` bands. So many different bits leave at least r bands
    untouched, so the choices of r bands are the keys.
    """
    equal = _bands_of_a_key(len(hashes), most)
    bands = most + equal
    edges = np.linspace(0, BITS, bands + 1).astype(int)
    parts = [np.uint64(sum(1 << bit for bit in range(low, high))) for low, high in pairwise(edges)]
    for chosen in combinations(parts, equal):
        yield hashes & np.bitwise_or.reduce(np.array(chosen, np.uint64))


def _bands_of_a_key(count: int, most: int) -> int:
    """The least number of bands that gives a key of as many bits as the number of rows has."""
    wanted = max(1, (count - 1).bit_length())
    equal = 1
    while equal * (BITS // (most + equal)) < wanted and most + equal < BITS:
        equal += 1
    return equal
