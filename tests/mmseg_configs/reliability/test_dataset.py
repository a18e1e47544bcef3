"""Samples out of shards through stock transforms, in this process and in workers of both kinds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine import fileio
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from PIL import Image
from torch.utils.data import DataLoader

from mmseg_configs.reliability import FolderDataset, ShardDataset
from tasks.label_maps import encode_label
from tasks.shards import write_shard

CLASSES = ["background", "car", "boat"]
Arrays = Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray]]
PIPELINE = [
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations"},
    {"type": "LoadReliability"},
    {"type": "PackReliabilityInputs"},
]


@pytest.fixture(autouse=True)
def scope() -> None:
    init_default_scope("mmseg")


def load(root: Path, split: str, **kwargs: Any) -> ShardDataset:
    kwargs.setdefault("pipeline", PIPELINE)
    return ShardDataset(str(root / "data/dataset"), split, root=str(root), **kwargs)


def assert_is(item: dict[str, Any], expected: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Whether a packed item is the sample with these arrays, bit for bit."""
    image, label, reliability = expected
    sample = item["data_samples"]
    np.testing.assert_array_equal(item["inputs"], image[..., ::-1].transpose(2, 0, 1))
    np.testing.assert_array_equal(sample.gt_sem_seg.data[0], label)
    np.testing.assert_array_equal(
        sample.gt_reliability.data[0], reliability.astype(np.float32) / 255
    )


def test_a_split_has_its_kept_samples_in_the_indexs_order(dataset_root: Path) -> None:
    train, val = (load(dataset_root, split) for split in ("train", "val"))
    assert [train.get_data_info(n)["sample_id"] for n in range(len(train))] == [
        "s0",
        "s1",
        "s2",
        "s3",
    ]
    assert [val.get_data_info(n)["sample_id"] for n in range(len(val))] == ["s5"]
    assert train.metainfo["classes"] == tuple(CLASSES)
    assert train.metainfo["palette"][1] == [128, 0, 0]


def test_stock_transforms_read_the_right_bytes(dataset_root: Path, arrays: Arrays) -> None:
    dataset = load(dataset_root, "train")
    for number in range(4):
        assert_is(dataset[number], arrays(number))


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_two_workers_read_the_right_bytes(dataset_root: Path, arrays: Arrays, context: str) -> None:
    dataset = load(dataset_root, "train")
    loader = DataLoader(
        dataset, 1, num_workers=2, multiprocessing_context=context, collate_fn=pseudo_collate
    )
    batches = list(loader)
    assert len(batches) == 4
    for number, batch in enumerate(batches):
        assert_is({key: value[0] for key, value in batch.items()}, arrays(number))


def test_the_backend_reads_text_and_refuses_what_is_no_member(tmp_path: Path) -> None:
    member = write_shard(tmp_path / "a b.tar", [("x.txt", "ä".encode())])[0]
    assert fileio.get_text(member.uri) == "ä"
    with pytest.raises(EOFError, match="ends before byte"):
        fileio.get(member.uri.replace("size=2", "size=999999"))
    with pytest.raises(ValueError, match="not a shard address"):
        fileio.get("shard://a.tar?offset=1")
    with pytest.raises(FileNotFoundError):
        fileio.get("shard://missing.tar?offset=1&size=2")


def test_a_labelled_set_is_joined_by_name(tmp_path: Path, arrays: Arrays) -> None:
    for name, number in (("b", 1), ("a", 0)):
        image, label, _ = arrays(number)
        for folder in ("images", "labels"):
            (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / f"images/{name}.png")
        (tmp_path / f"labels/{name}.png").write_bytes(encode_label(label))
    pipeline = [step for step in PIPELINE if step["type"] != "LoadReliability"]
    dataset = FolderDataset(str(tmp_path), CLASSES, pipeline=pipeline)
    assert len(dataset) == 2
    for number in range(2):
        sample = dataset[number]["data_samples"]
        np.testing.assert_array_equal(sample.gt_sem_seg.data[0], arrays(number)[1])
        assert "gt_reliability" not in sample
