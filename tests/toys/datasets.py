"""Finished datasets of a few pictures, and exports' view of one."""

import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.exporters.origin import read_origin
from tasks.exporters.source import Source
from tasks.label_maps import encode_grey, encode_image, encode_label, ignore_value, label_dtype
from tasks.records import DATASET, MASKS, SAMPLES, read_rows, write_json, write_table
from tasks.shards import write_shard

ROOT = Path(__file__).parents[2]

HEIGHT, WIDTH = 12, 20
"""Of the pictures of `make_dataset`."""


def exported_label(number: int, names: list[str]) -> np.ndarray:
    """Blocks of two classes, one pixel of the last one, rest of value 0, some pixels ignored."""
    dtype = label_dtype(len(names))
    label = np.zeros((HEIGHT, WIDTH), dtype)
    first = int(names[0] == "background")
    label[2:8, 3:9] = first + number % (len(names) - first)
    label[6:11, 8:17] = first + (number + 1) % (len(names) - first)
    label[0, 0] = len(names) - 1
    label[:, -2:] = ignore_value(dtype)
    return label


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Makes a repository root with a dataset: four samples to train on, one val, one rejected."""

    def make(
        names: tuple[str, ...] = ("background", "car", "dog"),
        prompt: str = "a picture of a car",
        ids: tuple[str, ...] = tuple(f"{number:016x}" for number in range(6)),
    ) -> Path:
        root = tmp_path / "root"
        rng = np.random.default_rng(0)
        maps: dict[str, list[bytes]] = {"image": [], "label": [], "reliability": []}
        for number in range(len(ids)):
            image = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
            maps["image"].append(encode_image(image))
            maps["label"].append(encode_label(exported_label(number, list(names))))
            trust = rng.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
            maps["reliability"].append(encode_grey(trust))
        uris: dict[str, list[str]] = {}
        crcs = {kind: list(map(zlib.crc32, files)) for kind, files in maps.items()}
        for kind, files in maps.items():
            path = Path(f"data/{kind}.tar")
            written = write_shard(root / path, [(f"{n}.png", data) for n, data in enumerate(files)])
            uris[kind] = [replace(member, path=str(path)).uri for member in written]
        rows = [
            {
                "sample_id": key,
                "prompt_id": f"p{number}",
                "text": prompt,
                "classes": [{"name": names[-1], "area": 0.25, "peak": 1, "margin": 1}],
                "kept": number < 5,
                "reason": "" if number < 5 else f"{names[-1]}: area 0.010 below min_area 0.04",
                "split": ("train", "train", "train", "train", "val", "")[number % 6],
                **{kind: listed[number] for kind, listed in uris.items()},
            }
            for number, key in enumerate(ids)
        ]
        samples = [
            {"sample_id": key, "seed": 2**62 + n, "image_crc32": crcs["image"][n]}
            for n, key in enumerate(ids)
        ]
        masks = [
            {"sample_id": key}
            | {f"{kind}_crc32": crcs[kind][n] for kind in ("label", "reliability")}
            for n, key in enumerate(ids)
        ]
        write_table(root / "data/dataset/index.parquet", rows, DATASET)
        write_json(root / "data/dataset/classes.json", list(names))
        write_table(root / "data/samples/index.parquet", samples, SAMPLES)
        write_table(root / "data/masks/index.parquet", masks, MASKS)
        write_json(root / "data/inputs/model.json", {"digest": "d" * 64})
        write_json(root / "models/lora/adapter.json", {"digest": "abc"})
        shutil.copy(ROOT / "presets/storybook.yaml", root / "params.yaml")
        return root

    return make


@pytest.fixture
def source(make_dataset: Callable[..., Path]) -> Source:
    """A dataset as the exporters read it."""
    root = make_dataset()
    return Source(root, read_origin(root))


def rewrite(root: Path, change: Callable[[int, dict[str, Any]], dict[str, Any]]) -> None:
    """Change each row of a dataset's table, given its number."""
    path = root / "data/dataset/index.parquet"
    rows = [change(number, row) for number, row in enumerate(read_rows(path))]
    write_table(path, rows, DATASET)
