"""Masks spoiled on purpose, among samples whose mask was good before.

Good means that it agrees with what a network trained on real labels sees. A spoiled mask has other
classes, lies elsewhere, or is empty; its image and the attention that it was made from stay as they
are, and so do the scores of the attention, which therefore cannot tell.
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks import records
from tasks.iou import confusion_matrix, iou_per_class, mean_iou
from tasks.label_maps import BACKGROUND, decode, encode_label
from tasks.segmenter import Segmenter
from tasks.shards import Member, write_shard

KINDS = ("swapped", "shifted", "emptied")
SHIFT = (0.25, 0.5)
"""Of the image's sides, in each direction."""

Row = dict[str, Any]


def swap_classes(label: np.ndarray, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Every class of the mask becomes another one that the mask does not have.

    Args:
        label: ``(H, W)``, 0 is the background.
        classes: label values are 1..classes.
    """
    shown = [value for value in np.unique(label) if 0 < value <= classes]
    others = rng.permutation(np.setdiff1d(np.arange(1, classes + 1), shown))[: len(shown)]
    swapped = label.copy()
    for value, other in zip(shown, others, strict=True):
        swapped[label == value] = other
    return swapped


def shift(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mask moved by a quarter to a half of either side; background follows it."""
    low, high = SHIFT
    moved = np.full_like(label, BACKGROUND)
    source, target = [], []
    for side in label.shape:
        by = int(rng.integers(round(low * side), round(high * side) + 1))
        ends = slice(0, side - by), slice(by, side)
        forward = rng.random() < 0.5
        source.append(ends[0] if forward else ends[1])
        target.append(ends[1] if forward else ends[0])
    moved[tuple(target)] = label[tuple(source)]
    return moved


def spoil(label: np.ndarray, kind: str, classes: int, rng: np.random.Generator) -> np.ndarray:
    """A spoiled copy of a label map; ``kind`` is one of `KINDS`."""
    if kind == "swapped":
        return swap_classes(label, classes, rng)
    if kind == "shifted":
        return shift(label, rng)
    return np.full_like(label, BACKGROUND)


def good_samples(
    root: Path, rows: list[tuple[Row, Row]], reference: Path, least: float, classes: int
) -> list[tuple[Row, Row]]:
    """The samples whose mask has at least ``least`` mean IoU with what the reference sees.

    Args:
        rows: of samples and masks.
        classes: label values, background included.
    """
    images = (_read(sample, "image", root) for sample, _ in rows)
    seen = Segmenter(reference, "cpu").label(images)
    good = []
    for pair, prediction in zip(rows, seen, strict=True):
        confusion = confusion_matrix(_read(pair[1], "label", root), prediction, classes)
        if mean_iou(iou_per_class(confusion)) >= least:
            good.append(pair)
    return good


def write_spoiled(
    root: Path,
    out: Path,
    rows: list[tuple[Row, Row]],
    values: dict[str, int],
    share: float,
    seed: int,
) -> dict[str, str]:
    """Write ``data`` below ``out`` with these samples, some of their masks spoiled.

    Args:
        root: whose samples and prompts are used as they are.
        values: class name -> label value.

    Returns:
        sample_id -> kind of the spoiled ones; the kinds are equally frequent.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(rows))[: round(share * len(rows))]
    kind_of = {int(at): KINDS[number % len(KINDS)] for number, at in enumerate(chosen)}
    shutil.rmtree(out, ignore_errors=True)
    (out / "data/samples").mkdir(parents=True)
    (out / "data/samples/shards").symlink_to((root / "data/samples/shards").resolve())
    (out / "data/prompts.parquet").symlink_to((root / "data/prompts.parquet").resolve())
    records.write_table(
        out / "data/samples/index.parquet", [sample for sample, _ in rows], records.SAMPLES
    )

    def files() -> Iterator[tuple[str, bytes]]:
        for at, (_, mask) in enumerate(rows):
            label = _read(mask, "label", root)
            if at in kind_of:
                label = spoil(label, kind_of[at], len(values), rng)
            for each in mask["classes"]:
                each["area"] = float((label == values[each["name"]]).mean())
            yield f"{mask['sample_id']}.label.png", encode_label(label)
            member = Member(mask["shard"], mask["reliability_offset"], mask["reliability_size"])
            yield f"{mask['sample_id']}.reliability.png", member.below(root).read()

    shard = Path("data/masks/shards/spoiled-0000.tar")
    members = [replace(one, path=str(shard)) for one in write_shard(out / shard, files())]
    masks = [
        mask
        | {
            "shard": str(shard),
            "label_offset": label.offset,
            "label_size": label.size,
            "reliability_offset": trust.offset,
            "reliability_size": trust.size,
        }
        for (_, mask), label, trust in zip(rows, members[::2], members[1::2], strict=True)
    ]
    records.write_table(out / "data/masks/index.parquet", masks, records.MASKS)
    return {rows[at][0]["sample_id"]: kind for at, kind in kind_of.items()}


def _read(row: Row, kind: str, root: Path) -> np.ndarray:
    member = Member(row["shard"], row[f"{kind}_offset"], row[f"{kind}_size"])
    return decode(member.below(root).read())
