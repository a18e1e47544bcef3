"""Samples out of shards through stock transforms, in this process and in workers of both kinds."""

import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine import fileio
from mmengine.registry import init_default_scope
from PIL import Image

from mmseg_configs.reliability import FolderDataset, ShardDataset
from mmseg_configs.reliability.faults import SampleError
from tasks.label_maps import encode_label
from tasks.params import InputError
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


READ_WITH_WORKERS = """
import sys
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader
from mmseg_configs.reliability import ShardDataset

if __name__ == "__main__":
    root, context, out = sys.argv[1:]
    init_default_scope("mmseg")
    types = ["LoadImageFromFile", "LoadAnnotations", "LoadReliability", "PackReliabilityInputs"]
    pipeline = [{"type": name} for name in types]
    dataset = ShardDataset(f"{root}/data/dataset", "train", root=root, pipeline=pipeline)
    loader = DataLoader(
        dataset, 1, num_workers=2, multiprocessing_context=context, collate_fn=pseudo_collate
    )
    read = [
        (batch["inputs"][0], sample.gt_sem_seg.data, sample.gt_reliability.data)
        for batch in loader
        for sample in batch["data_samples"]
    ]
    torch.save(read, out)
"""


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_two_workers_read_the_right_bytes(
    dataset_root: Path, arrays: Arrays, context: str, tmp_path: Path
) -> None:
    """In a process of its own: a fork of this one would take along other tests' threads."""
    script, out = tmp_path / "read.py", tmp_path / "read.pt"
    script.write_text(READ_WITH_WORKERS)
    command = [sys.executable, str(script), str(dataset_root), context, str(out)]
    root = Path(__file__).parents[3]
    subprocess.run(command, check=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    read = torch.load(out, weights_only=True)
    assert len(read) == 4
    for number, (image, label, trust) in enumerate(read):
        expected_image, expected_label, expected_trust = arrays(number)
        np.testing.assert_array_equal(image, expected_image[..., ::-1].transpose(2, 0, 1))
        np.testing.assert_array_equal(label[0], expected_label)
        np.testing.assert_array_equal(trust[0], expected_trust.astype(np.float32) / 255)


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


def test_a_damaged_label_map_is_told_by_sample_and_file(tmp_path: Path, arrays: Arrays) -> None:
    """Pillow raises a bare ValueError of a chunk that is too short."""
    image, label, _ = arrays(0)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.fromarray(image).save(tmp_path / "images/a.png")
    data = encode_label(label)
    chunk = b"\0\0\0\1pHYs\0" + zlib.crc32(b"pHYs\0").to_bytes(4)
    (tmp_path / "labels/a.png").write_bytes(data[:33] + chunk + data[33:])
    dataset = FolderDataset(str(tmp_path), CLASSES, pipeline=PIPELINE[:2])
    with pytest.raises(SampleError, match=r"a\.png cannot be read: Truncated.*labels/a\.png"):
        dataset[0]


@pytest.mark.parametrize("packer", ["PackReliabilityInputs", "PackSegInputs"])
def test_a_label_that_is_no_class_is_refused_by_sample_and_file(
    tmp_path: Path, arrays: Arrays, packer: str
) -> None:
    """Whoever packs it: what is held out goes through the stock packer."""
    image = arrays(0)[0]
    label = np.zeros(image.shape[:2], np.uint8)
    label[0] = 255
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.fromarray(image).save(tmp_path / "images/a.png")
    pipeline = [*PIPELINE[:2], {"type": packer}]

    def load_label(value: int) -> torch.Tensor:
        label[1] = value
        (tmp_path / "labels/a.png").write_bytes(encode_label(label))
        sample = FolderDataset(str(tmp_path), CLASSES, pipeline=pipeline)[0]["data_samples"]
        return sample.gt_sem_seg.data[0]

    np.testing.assert_array_equal(load_label(2), label)  # 255 is ignored
    said = r"labels/a\.png: sample .*images/a\.png has the label 3, and .* 3 classes, 0 to 2"
    with pytest.raises(InputError, match=said):
        load_label(3)


def test_255_is_an_ordinary_class_in_16_bits_and_65535_is_ignored(tmp_path: Path) -> None:
    classes = [f"class {number}" for number in range(300)]
    label = np.array([[255, 299], [65535, 0]], np.uint16)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "images/a.png")
    pipeline = [PIPELINE[0], {"type": "LoadLabelMap"}, {"type": "PackSegInputs"}]

    def load_label() -> torch.Tensor:
        (tmp_path / "labels/a.png").write_bytes(encode_label(label))
        return FolderDataset(str(tmp_path), classes, pipeline=pipeline)[0][
            "data_samples"
        ].gt_sem_seg.data[0]

    np.testing.assert_array_equal(load_label(), label)
    label[0, 1] = 300
    with pytest.raises(InputError, match="has the label 300, and there are 300 classes"):
        load_label()
