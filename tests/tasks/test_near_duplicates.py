"""The hash against a DCT written out, the index against comparing all with all."""

import time

import numpy as np
import pytest
from scipy.fft import dctn

from tasks import near_duplicates
from tasks.near_duplicates import nearest_earlier, perceptual_hash, shrink


def scene(seed: int, side: int = 96) -> np.ndarray:
    """A smooth random picture, ``uint8 (side, side)``."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    picture = sum(
        rng.normal() * np.cos(np.pi * (a * y + b * x + rng.random()))
        for a in range(4)
        for b in range(4)
    )
    scaled = (picture - picture.min()) / np.ptp(picture)
    return (scaled * 255).astype(np.uint8)


def hash_of(*pictures: np.ndarray) -> np.ndarray:
    return perceptual_hash(np.stack([shrink(picture) for picture in pictures]))


def bits_between(one: np.uint64, other: np.uint64) -> int:
    return int(np.bitwise_count(one ^ other))


def test_bits_are_the_low_frequencies_above_their_median() -> None:
    small = shrink(scene(0))
    low = dctn(small, type=2)[1:9, 1:9].ravel()
    expected = "".join("1" if value > np.median(low) else "0" for value in low)
    assert f"{int(perceptual_hash(small[None])[0]):064b}" == expected


def test_a_copy_is_near_and_another_picture_far() -> None:
    picture = scene(0)
    noise = np.random.default_rng(1).normal(0, 3, picture.shape)
    copies = [
        (picture * 0.8 + 20).astype(np.uint8),
        np.clip(picture + noise, 0, 255).astype(np.uint8),
        np.kron(picture, np.ones((2, 2), np.uint8)),
    ]
    original, *others = hash_of(picture, *copies)
    assert max(bits_between(original, other) for other in others) <= 4
    far = hash_of(*(scene(seed) for seed in range(1, 30)))
    assert min(bits_between(original, other) for other in far) > 10


def test_flat_pictures_are_copies_of_each_other() -> None:
    assert hash_of(*(np.full((64, 64), v, np.uint8) for v in (0, 7, 255))).tolist() == [0, 0, 0]


def brute_force(hashes: np.ndarray, most: int) -> tuple[list[int], list[int]]:
    nearest, distance = [], []
    for at, one in enumerate(hashes):
        bits = [bits_between(one, other) for other in hashes[:at]]
        found = bool(bits) and min(bits) <= most
        nearest.append(bits.index(min(bits)) if found else -1)
        distance.append(min(bits) if found else 0)
    return nearest, distance


@pytest.fixture
def always_by_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "ROWS_A_KEY", 0)


@pytest.mark.parametrize("way", ["index", "all at once", "all by parts"])
@pytest.mark.parametrize("most", [0, 1, 2, 4, 6, 9, 16])
def test_both_ways_find_what_comparing_all_finds(
    most: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "ROWS_A_KEY", 0 if way == "index" else 1000)
    monkeypatch.setattr(near_duplicates, "AT_ONCE", 1000 if way == "all by parts" else 1 << 20)
    rng = np.random.default_rng(most)
    originals = rng.integers(0, 2**64, 25, dtype=np.uint64)
    hashes = originals[rng.integers(0, 25, 150)]
    for _ in range(6):
        flip = np.uint64(1) << rng.integers(0, 64, 150, dtype=np.uint64)
        hashes = np.where(rng.random(150) < 0.5, hashes ^ flip, hashes)
    nearest, distance = nearest_earlier(hashes, most)
    expected = brute_force(hashes, most)
    assert (nearest.tolist(), distance.tolist()) == expected
    assert (nearest != -1).any()


@pytest.mark.usefixtures("always_by_index")
def test_the_bits_that_differ_may_lie_anywhere() -> None:
    """Every pair of bits: no band is left out."""
    base = np.uint64(0x0123456789ABCDEF)
    for one in range(64):
        for other in range(one):
            changed = base ^ (np.uint64(1) << np.uint64(one)) ^ (np.uint64(1) << np.uint64(other))
            nearest, distance = nearest_earlier(np.array([base, changed]), 2)
            assert (nearest[1], distance[1]) == (0, 2)


@pytest.mark.parametrize("count", [0, 1])
def test_one_row_has_no_other(count: int) -> None:
    nearest, distance = nearest_earlier(np.zeros(count, np.uint64), 4)
    assert nearest.tolist() == [-1] * count
    assert distance.tolist() == [0] * count


def test_equal_hashes_do_not_cost_the_square() -> None:
    """A hundred thousand copies: comparing all with all would take 5e9 comparisons."""
    started = time.monotonic()
    nearest, distance = nearest_earlier(np.full(100_000, 5, np.uint64), 6)
    assert time.monotonic() - started < 10
    assert nearest[0] == -1
    assert (nearest[1:] == 0).all()
    assert not distance.any()


def test_a_large_distance_does_not_cost_a_pass_for_each_of_its_keys() -> None:
    """At 16 bits five thousand hashes have 20,349 keys: by them it takes many seconds."""
    hashes = np.random.default_rng(0).integers(0, 2**64, 5000, dtype=np.uint64)
    started = time.monotonic()
    nearest, distance = nearest_earlier(hashes, 16)
    assert time.monotonic() - started < 5
    for at in np.flatnonzero(nearest != -1)[:5]:
        assert bits_between(hashes[at], hashes[nearest[at]]) == distance[at] <= 16
