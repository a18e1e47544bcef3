"""A dataset of a few samples in shards, with values that tell every pixel of every sample apart."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.label_maps import encode_grey, encode_image, encode_label
from tasks.records import DATASET, write_json, write_table
from tasks.shards import write_shard

CLASSES = ["background", "car", "boat"]
COUNT = 6
SIZE = (8, 12)
Arrays = Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray]]


def make_arrays(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, label map and reliability of a sample."""
    rng = np.random.default_rng(number)
    label = rng.integers(0, len(CLASSES), SIZE).astype(np.uint8)
    label[0, 0] = 255
    reliability = rng.integers(0, 256, SIZE).astype(np.uint8)
    return rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8), label, reliability


@pytest.fixture
def arrays() -> Arrays:
    """Sample number -> image, label map and reliability."""
    return make_arrays


@pytest.fixture(scope="session")
def dataset_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with ``data/dataset`` and two shards of each kind; s4 is rejected, s5 validates."""
    root = tmp_path_factory.mktemp("root with space")
    rows = []
    for shard in range(2):
        images, maps = {}, {}
        for number in range(shard * 3, shard * 3 + 3):
            image, label, reliability = make_arrays(number)
            images[f"{number}.png"] = encode_image(image)
            maps[f"{number}.label.png"] = encode_label(label)
            maps[f"{number}.reliability.png"] = encode_grey(reliability)
        uris = {}
        for kind, members in (("samples", images), ("masks", maps)):
            path = Path(f"data/{kind}/shards/{shard}.tar")
            written = write_shard(root / path, members.items())
            for name, member in zip(members, written, strict=True):
                uris[name] = replace(member, path=str(path)).uri
        for number in range(shard * 3, shard * 3 + 3):
            row = {
                "sample_id": f"s{number}",
                "kept": number != 4,
                "split": {4: "", 5: "val"}.get(number, "train"),
            }
            parts = {"image": "png", "label": "label.png", "reliability": "reliability.png"}
            rows.append(row | {part: uris[f"{number}.{end}"] for part, end in parts.items()})
    write_table(root / "data/dataset/index.parquet", rows, DATASET)
    write_json(root / "data/dataset/classes.json", CLASSES)
    return root
