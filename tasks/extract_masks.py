"""Stage ``extract_masks``: attention heat maps to label maps and per-pixel reliability.

The masks of attn2mask (arXiv 2309.01369): every class's map normalised, a background channel
1 - max A - beta, argmax; optionally refined by the image before the argmax. The reliability is the
rank of the margin between the best and the second class.
"""

import io
import shutil
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tasks import records
from tasks.entry import run_stage
from tasks.label_maps import decode, encode_grey, encode_label
from tasks.params import ExtractMasks, Params
from tasks.progress import progress
from tasks.refine import guided_filter
from tasks.shards import Member, write_shard

RELIABILITY_MAX = 255


def normalise(heat: Tensor) -> Tensor:
    """Min-max per map, ``(K, h, w)`` to 0..1; a constant map becomes 0."""
    low, high = heat.amin((1, 2), keepdim=True), heat.amax((1, 2), keepdim=True)
    return (heat - low) / torch.where(high > low, high - low, torch.ones_like(high))


def class_stack(heat: Tensor, size: tuple[int, int], beta: float) -> Tensor:
    """Scores of background and classes: ``(1 + K, H, W)``, A_0 = 1 - max_k A_k - beta.

    Args:
        heat: ``(K, h, w)`` attention of each class.
        size: (H, W) of the image.
        beta: how much the background is held back.
    """
    maps = functional.interpolate(normalise(heat)[None], size=size, mode="bilinear")[0]
    background = 1 - maps.amax(0, keepdim=True) - beta
    return torch.cat([background, maps])


def label_and_margin(stack: Tensor) -> tuple[Tensor, Tensor]:
    """Best channel ``int64 (H, W)`` and its lead over the second best ``float (H, W)``."""
    best, second = stack.topk(2, dim=0).values
    return stack.argmax(0), best - second


def margin_rank(label: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Rank of each pixel's margin among the pixels of its predicted class, 0..255.

    A rank, not a threshold: the training chooses its own quantile. Equal margins get equal ranks,
    a class of one pixel gets the middle.

    Args:
        label: ``(H, W)`` predicted channel.
        margin: ``float (H, W)``.

    Returns:
        ``uint8 (H, W)``, 255 = the most reliable pixel of its class in this image.
    """
    rank = np.zeros(label.shape, np.uint8)
    for value in np.unique(label):
        inside = label == value
        _, position, counts = np.unique(margin[inside], return_inverse=True, return_counts=True)
        below = np.cumsum(counts) - counts
        middle = (below + (counts - 1) / 2) / max(1, counts.sum() - 1)
        if counts.sum() == 1:
            middle[:] = 0.5
        rank[inside] = np.rint(middle[position] * RELIABILITY_MAX)
    return rank


def merge_phrases(heat: np.ndarray, names: list[str]) -> tuple[np.ndarray, list[str]]:
    """One map per class: where several phrases name a class, the larger value counts."""
    distinct = list(dict.fromkeys(names))
    merged = [heat[[name == each for name in names]].max(0) for each in distinct]
    return np.stack(merged), distinct


def extract(
    image: np.ndarray,
    heat: np.ndarray,
    names: list[str],
    values: dict[str, int],
    section: ExtractMasks,
) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]:
    """One sample's label map, reliability and scores.

    Args:
        image: ``uint8 (H, W, 3)``.
        heat: ``float16 (K, h, w)``, the class of map k is ``names[k]``.
        values: class name -> label value.

    Returns:
        label ``uint8 (H, W)``, reliability ``uint8 (H, W)``, and per class its
        `tasks.records.MASK_CLASS`.
    """
    merged, distinct = merge_phrases(heat.astype(np.float32), names)
    stack = class_stack(torch.from_numpy(merged), image.shape[:2], section.beta)
    if section.refine == "guided":
        guide = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        guided = section.guided
        stack = guided_filter(guide, stack[None], guided.radius, guided.epsilon)[0]
    channel, margin = (t.numpy() for t in label_and_margin(stack))
    lookup = np.array([0, *(values[name] for name in distinct)], np.uint8)
    scores = []
    for k, name in enumerate(distinct, start=1):
        inside = channel == k
        scores.append(
            {
                "name": name,
                "area": float(inside.mean()),
                "peak": float(merged[k - 1].max()),
                "margin": float(margin[inside].mean()) if inside.any() else 0.0,
            }
        )
    return lookup[channel], margin_rank(channel, margin), scores


def run(params: Params, root: Path = Path()) -> None:
    """Write ``data/masks``: one shard of masks per shard of samples and, last, their index."""
    samples = records.read_rows(root / "data/samples/index.parquet")
    prompts = {row["seed"]: row for row in records.read_rows(root / "data/prompts.parquet")}
    values = {name: i for i, name in enumerate(params.expand_prompts.class_names, start=1)}
    out = root / "data/masks"
    shutil.rmtree(out, ignore_errors=True)
    shards: dict[str, list[dict[str, Any]]] = {}
    for row in samples:
        shards.setdefault(row["shard"], []).append(row)

    index = []
    with progress("masks", len(samples), "images") as advance:
        for shard, members in shards.items():
            files: list[tuple[str, bytes]] = []
            scores = []
            for row in members:
                names = [c["name"] for c in prompts[row["seed"]]["classes"]]
                source = str(root / shard)
                image = decode(Member(source, row["image_offset"], row["image_size"]).read())
                heat_bytes = Member(source, row["heat_offset"], row["heat_size"]).read()
                heat = np.load(io.BytesIO(heat_bytes), allow_pickle=False)
                label, rank, of_classes = extract(image, heat, names, values, params.extract_masks)
                files.append((f"{row['sample_id']}.label.png", encode_label(label)))
                files.append((f"{row['sample_id']}.reliability.png", encode_grey(rank)))
                scores.append(of_classes)
                advance(1)
            name = Path(shard).name
            written = write_shard(out / "shards" / name, files)
            for row, of_classes, label_at, rank_at in zip(
                members, scores, written[::2], written[1::2], strict=True
            ):
                index.append(
                    {
                        "sample_id": row["sample_id"],
                        "shard": f"data/masks/shards/{name}",
                        "label_offset": label_at.offset,
                        "label_size": label_at.size,
                        "reliability_offset": rank_at.offset,
                        "reliability_size": rank_at.size,
                        "classes": of_classes,
                    }
                )
    records.write_table(out / "index.parquet", index, records.MASKS)


def main() -> None:
    """Turn attention maps into label maps and reliability: data/masks."""
    run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
