"""Masks spoiled on purpose, among samples whose mask was good before.

Good means that it agrees with what a network trained on real labels sees. A spoiled mask has other
classes, lies elsewhere, or is empty. Other classes: as if the prompt had asked for them and the
model had drawn something else: the sample's class list says so too. Images and the scores that come
from the attention stay as they are, and cannot tell.
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


def other_classes(shown: list[int], classes: int, rng: np.random.Generator) -> dict[int, int]:
    """For each label value another one, which is not among them; values are 1..classes."""
    others = rng.permutation(np.setdiff1d(np.arange(1, classes + 1), shown))
    return {value: int(other) for value, other in zip(shown, others, strict=False)}


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


def spoil(
    label: np.ndarray, shown: list[str], kind: str, names: list[str], rng: np.random.Generator
) -> tuple[np.ndarray, list[str]]:
    """A spoiled copy of a label map and of its class list.

    Args:
        label: ``(H, W)``, 0 is the background.
        shown: the sample's classes.
        kind: one of `KINDS`.
        names: all classes; the first has label 1.
    """
    if kind == "shifted":
        return shift(label, rng), shown
    if kind == "emptied":
        return np.full_like(label, BACKGROUND), shown
    becomes = other_classes([1 + names.index(name) for name in shown], len(names), rng)
    swapped = label.copy()
    for value, other in becomes.items():
        swapped[label == value] = other
    return swapped, [names[becomes[1 + names.index(name)] - 1] for name in shown]


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
    names: list[str],
    share: float,
    seed: int,
) -> dict[str, str]:
    """Write ``data`` below ``out`` with these samples, some of their masks spoiled.

    Args:
        root: whose samples and prompts are used as they are.
        rows: of samples and masks; they are left as they are.
        names: all classes; the first has label 1.

    Returns:
        sample_id -> kind of the spoiled ones; the kinds are equally frequent.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(rows))[: round(share * len(rows))]
    kind_of = {int(at): KINDS[number % len(KINDS)] for number, at in enumerate(chosen)}
    shutil.rmtree(out / "data", ignore_errors=True)
    (out / "data/samples").mkdir(parents=True)
    (out / "data/samples/shards").symlink_to((root / "data/samples/shards").resolve())
    (out / "data/prompts.parquet").symlink_to((root / "data/prompts.parquet").resolve())
    records.write_table(
        out / "data/samples/index.parquet", [sample for sample, _ in rows], records.SAMPLES
    )

    classes: list[list[Row]] = []

    def files() -> Iterator[tuple[str, bytes]]:
        for at, (_, mask) in enumerate(rows):
            label, shown = _read(mask, "label", root), [each["name"] for each in mask["classes"]]
            if at in kind_of:
                label, shown = spoil(label, shown, kind_of[at], names, rng)
            areas = [float((label == 1 + names.index(name)).mean()) for name in shown]
            classes.append(
                [
                    each | {"name": name, "area": area}
                    for each, name, area in zip(mask["classes"], shown, areas, strict=True)
                ]
            )
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
            "classes": listed,
        }
        for (_, mask), label, trust, listed in zip(
            rows, members[::2], members[1::2], classes, strict=True
        )
    ]
    records.write_table(out / "data/masks/index.parquet", masks, records.MASKS)
    return {rows[at][0]["sample_id"]: kind for at, kind in kind_of.items()}


def _read(row: Row, kind: str, root: Path) -> np.ndarray:
    member = Member(row["shard"], row[f"{kind}_offset"], row[f"{kind}_size"])
    return decode(member.below(root).read())
