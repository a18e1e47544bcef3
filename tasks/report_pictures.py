"""The report's pictures: which samples have some, and what lies over what.

Each sample has its image and transparent layers over it: labels, a heat map for each class,
reliability. Those of `GROUP` samples are a script, ``data/pictures-0000.js``: few files, and a page
of the gallery, whatever its order, loads little that it does not show. Imports no torch.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks import records
from tasks.captures import decode_capture, merge_phrases
from tasks.label_maps import decode
from tasks.params import ExtractMasks
from tasks.pictures import (
    RGB,
    THUMBNAIL,
    data_uri,
    heat_layer,
    is_pixel_art,
    label_layer,
    label_overlay,
    reliability_layer,
    thumbnail,
)
from tasks.progress import progress
from tasks.report_samples import Samples
from tasks.report_script import write_script
from tasks.shards import parse_uri

GROUP = 16
"""Samples whose pictures are one file."""

Row = dict[str, Any]


def spread(rows: Sequence[int], samples: Samples, count: int, seed: int) -> list[int]:
    """``count`` of the ``rows``, as evenly over the classes as they allow; ``seed`` decides which.

    A row counts for its first class. Within a class rows are taken in the order of a hash.
    """
    ids, firsts = samples.column("sample_id"), samples.first_classes()
    queues: dict[str, list[int]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: records.content_id("gallery", seed, ids[row])):
        queues[firsts[row]].append(row)
    longest = max((len(queue) for queue in queues.values()), default=0)
    turns = [
        queue[turn] for turn in range(longest) for queue in queues.values() if turn < len(queue)
    ]
    return turns[:count]


def choose_pictured(samples: Samples, count: int, seed: int) -> list[int]:
    """Rows that get pictures: a third rejected ones, or more where few were kept; each `spread`.

    Damaged samples have none: their files cannot be read, or hold no numbers.

    Returns:
        Row numbers, rising.
    """
    verdicts = list(enumerate(zip(samples.column("kept"), samples.column("rule"), strict=True)))
    kept = [row for row, (verdict, _) in verdicts if verdict]
    rejected = [row for row, (verdict, rule) in verdicts if not verdict and rule != records.FINITE]
    bad = min(len(rejected), max(count // 3, count - len(kept)))
    return sorted(spread(kept, samples, count - bad, seed) + spread(rejected, samples, bad, seed))


def sample_pictures(
    row: Row, names: list[str], palette: list[RGB], masks: ExtractMasks, root: Path
) -> Row:
    """A sample's image and layers, inline, read from the shards.

    Args:
        row: of the dataset.
        names: the class of each phrase of its prompt; its heat maps are one per class.
        palette: by label value.
        masks: says which of the kept attention is shown.
        root: where shard addresses start from.
    """
    image, label = (thumbnail(decode(_read(row[key], root))) for key in ("image", "label"))
    reliability = thumbnail(decode(_read(row["reliability"], root)), THUMBNAIL // 2)
    captured = decode_capture(_read(row["attention"], root))
    heats = captured.maps(masks.step, masks.resolutions)[0].astype(np.float32)
    return {
        "image": data_uri(image),
        "sharp": is_pixel_art(image),
        "size": [image.shape[1], image.shape[0]],
        "labels": label_layer(label, palette),
        "heats": [heat_layer(heat) for heat in merge_phrases(heats, names)],
        "reliability": reliability_layer(reliability),
    }


def write_pictures(
    samples: Samples,
    rows: Sequence[int],
    palette: list[RGB],
    masks: ExtractMasks,
    folder: Path,
    root: Path,
) -> None:
    """Write the pictures of some rows, `GROUP` a file.

    Args:
        samples: see `read_samples`.
        rows: row numbers, rising; the n-th one's pictures are number n.
        palette, masks, root: see `sample_pictures`.
        folder: ``report/data``.
    """
    columns = ["image", "label", "reliability", "attention"]
    with progress("showing samples", len(rows), "samples") as advance:
        for number, group in enumerate(records.batched(rows, GROUP)):
            found = samples.dataset.select(columns).take(group).to_pylist()
            shown = [
                sample_pictures(row, names, palette, masks, root)
                for row, names in zip(found, samples.named(group), strict=True)
            ]
            write_script(folder / f"pictures-{number:04d}.js", "pictures", number, shown)
            advance(len(group))


def examples(
    samples: Samples, rows: Sequence[int], palette: list[RGB], most: int, root: Path
) -> list[Row]:
    """One kept sample of each of the first classes, better one that shows its class alone.

    Args:
        samples: see `read_samples`.
        rows: those to choose from.
        palette: by label value.
        most: classes.
        root: where shard addresses start from.

    Returns:
        For each its ``id``, ``name`` of the class, ``text``, ``image`` and ``labels`` inline, and
        whether its pixels stay ``sharp``.
    """
    columns = ["sample_id", "text", "classes", "kept", "image", "label"]
    found: dict[str, Row] = {}
    kept = [
        row
        for row in samples.dataset.select(columns).take(pa.array(rows, pa.int64())).to_pylist()
        if row["kept"]
    ]
    for row in kept:
        name = row["classes"][0]["name"]
        if name not in found or len(row["classes"]) < len(found[name]["classes"]):
            found[name] = row
    shown = []
    for name, row in list(found.items())[:most]:
        image, label = (thumbnail(decode(_read(row[key], root))) for key in ("image", "label"))
        shown.append(
            {
                "id": row["sample_id"],
                "name": name,
                "text": row["text"],
                "image": data_uri(image),
                "labels": data_uri(label_overlay(image, label, palette)),
                "sharp": is_pixel_art(image),
            }
        )
    return shown


def _read(uri: str, root: Path) -> bytes:
    return parse_uri(uri).below(root).read()
