"""Datasets for measurements of the training: arrays into shards with their index."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.label_maps import encode_grey, encode_image, encode_label
from tasks.records import DATASET, write_json, write_table
from tasks.shards import write_shard

SHARD_SIZE = 500


@dataclass(frozen=True)
class Sample:
    """What a training reads of a sample.

    Attributes:
        name: the sample's id.
        split: ``train`` or ``val``.
        image: ``uint8 (H, W, 3)``.
        label: ``uint8 (H, W)``.
        reliability: ``uint8 (H, W)``; its complement to 255 is stored as the uncertainty.
    """

    name: str
    split: str
    image: np.ndarray
    label: np.ndarray
    reliability: np.ndarray

    def files(self) -> dict[str, bytes]:
        """All maps as PNG, by kind."""
        return {
            "image": encode_image(self.image),
            "label": encode_label(self.label),
            "reliability": encode_grey(self.reliability),
            "uncertainty": encode_grey(255 - self.reliability),
        }


def write_dataset(root: Path, samples: Sequence[Sample], classes: Sequence[str]) -> str:
    """Write ``data/dataset`` below ``root`` as `mmseg_configs.reliability.ShardDataset` reads it.

    Returns:
        A digest of all that was written.
    """
    rows: list[dict[str, Any]] = []
    digest = hashlib.sha256("\n".join(classes).encode())
    for number, group in enumerate(_groups(samples)):
        path = Path(f"data/shards/{number:04d}.tar")
        files = [(sample, kind, data) for sample in group for kind, data in sample.files().items()]
        members = [(f"{sample.name}.{kind}.png", data) for sample, kind, data in files]
        for name, data in members:
            digest.update(name.encode() + data)
        written = write_shard(root / path, members)
        by_sample: dict[str, dict[str, Any]] = {}
        for (sample, kind, _), member in zip(files, written, strict=True):
            row = {"sample_id": sample.name, "kept": True, "split": sample.split, "classes": []}
            uri = replace(member, path=str(path)).uri
            by_sample.setdefault(sample.name, row)[kind] = uri
        rows += by_sample.values()
    write_table(root / "data/dataset/index.parquet", rows, DATASET)
    write_json(root / "data/dataset/classes.json", list(classes))
    return digest.hexdigest()[:16]


def shard_dataset(root: Path, split: str) -> dict[str, Any]:
    """The config of what `write_dataset` wrote."""
    folder = str(root / "data/dataset")
    return {"type": "ShardDataset", "folder": folder, "split": split, "root": str(root)}


def _groups(samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
    for first in range(0, len(samples), SHARD_SIZE):
        yield samples[first : first + SHARD_SIZE]
