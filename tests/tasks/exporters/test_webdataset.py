"""Tar shards, opened by the webdataset library."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds
from PIL import Image

from tasks.exporters import webdataset


def open_split(out: Path, split: str) -> list[dict[str, Any]]:
    def labels(key: str, data: bytes) -> np.ndarray | None:
        maps = ("label.png", "reliability.png")
        return np.array(Image.open(io.BytesIO(data))) if key.endswith(maps) else None

    shards = sorted(map(str, out.glob(f"{split}-*.tar")))
    return list(wds.WebDataset(shards, shardshuffle=False).decode(labels, "rgb8"))


@pytest.mark.parametrize("kind", ["plain", "hostile", "many_classes", "no_background"])
def test_pixels_and_labels_come_back(
    exported: Callable[..., Any], request: pytest.FixtureRequest, kind: str
) -> None:
    dataset = {} if kind == "plain" else request.getfixturevalue(kind)
    export = exported("webdataset", dataset, rejected=True)
    for split in ("train", "val", "rejected"):
        found = open_split(export.out, split)
        for member, original in (
            ("png", "image"),
            ("label.png", "label"),
            ("reliability.png", "reliability"),
        ):
            arrays = {one["__key__"]: one[member] for one in found}
            export.assert_same(original, split, arrays)


def test_each_sample_has_its_row(exported: Callable[..., Any], hostile: dict[str, Any]) -> None:
    export = exported("webdataset", hostile, rejected=True)
    (row,) = (one["json"] for one in open_split(export.out, "rejected"))
    assert row["sample_id"] == "A"
    assert row["prompt"] == hostile["prompt"]
    assert row["kept"] is False
    assert row["reason"].endswith(": area 0.010 below min_area 0.04")
    assert row["classes"] == [hostile["names"][-1]]


@pytest.mark.parametrize(("limit", "value"), [("SHARD_SAMPLES", 3), ("SHARD_BYTES", 1)])
def test_shards_are_bounded(
    exported: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(webdataset, limit, value)
    export = exported("webdataset")
    shards = sorted(path.name for path in export.out.glob("train-*.tar"))
    assert len(shards) == (2 if limit == "SHARD_SAMPLES" else 4)
    assert shards[1] == "train-000001.tar"
    found = {one["__key__"]: one["label.png"] for one in open_split(export.out, "train")}
    export.assert_same("label", "train", found)
