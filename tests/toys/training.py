"""What a network is trained from, and its scores."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.label_maps import encode_grey, encode_image, encode_label
from tasks.params import Params
from tasks.records import DATASET, MASKS, PROMPTS, SAMPLES, read_rows, write_json, write_table
from tasks.shards import parse_uri, write_shard

ROOT = Path(__file__).parents[2]


TINY_CONFIG = """
loss = dict(type="ReliabilityCrossEntropy")
head = dict(type="FCNHead", in_channels=8, channels=8, num_convs=1, concat_input=False,
            num_classes=2, loss_decode=loss)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(type="ReliabilityDataPreProcessor", size=(16, 16), bgr_to_rgb=True,
                           mean=[128.0] * 3, std=[64.0] * 3),
    backbone=dict(type="ResNet", depth=18, num_stages=1, out_indices=(0,), strides=(1,),
                  dilations=(1,), stem_channels=8, base_channels=8),
    decode_head=head,
    auxiliary_head=head,
    test_cfg=dict(mode="whole"),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="LoadReliability"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackReliabilityInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
optim_wrapper = dict(optimizer=dict(type="AdamW"))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.5, end=2, by_epoch=False),
    dict(type="PolyLR", by_epoch=False),
]
"""
"""A network of some thousand weights for 16x16 pixels, with all the parts of a real one."""


@pytest.fixture(scope="session")
def shared_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty repository root that finds ``../shared/data`` where this one does."""
    shared = ROOT / "../shared"
    if not (shared / "data/lists").is_dir():
        pytest.skip("needs the lists in ../shared/data, which are no part of the repository")
    base = tmp_path_factory.mktemp("beside_shared")
    (base / "root").mkdir()
    (base / "shared").symlink_to(shared.resolve())
    return base / "root"


def write_square(number: int) -> tuple[bytes, bytes, bytes]:
    """A red (class 1) or blue (class 2) square on grey as PNG: image, label, reliability of 0.5."""
    rng = np.random.default_rng(number)
    image = rng.integers(90, 130, (16, 16, 3)).astype(np.uint8)
    label = np.zeros((16, 16), np.uint8)
    top, left = rng.integers(0, 8, 2)
    square = (slice(top, top + 8), slice(left, left + 8))
    value = number % 2 + 1
    label[square] = value
    image[square] = (220, 30, 30) if value == 1 else (30, 30, 220)
    return encode_image(image), encode_label(label), encode_grey(np.full((16, 16), 128, np.uint8))


@pytest.fixture(scope="session")
def training_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository root with all that trainings read: ``tiny.py``, a dataset, storybook's sets."""
    root = tmp_path_factory.mktemp("training")
    (root / "tiny.py").write_text(TINY_CONFIG)
    uris: list[dict[str, str]] = [{} for _ in range(16)]
    members = {
        kind: [(f"{number}.{kind}.png", write_square(number)[at]) for number in range(16)]
        for at, kind in enumerate(("image", "label", "reliability"))
    }
    members["uncertainty"] = [
        (name.replace("reliability", "uncertainty"), data) for name, data in members["reliability"]
    ]
    for kind, files in members.items():
        path = Path(f"data/{kind}.tar")
        for row, member in zip(uris, write_shard(root / path, files), strict=True):
            row[kind] = replace(member, path=str(path)).uri
    rows = [
        {
            "sample_id": str(number),
            "kept": True,
            "split": "train" if number < 12 else "val",
            "classes": [
                {"name": ("red", "blue")[number % 2], "area": 0.25, "peak": 1, "margin": 1}
            ],
            **row,
        }
        for number, row in enumerate(uris)
    ]
    write_table(root / "data/dataset/index.parquet", rows, DATASET)
    write_json(root / "data/dataset/classes.json", ["background", "red", "blue"])
    for number, (part, count) in enumerate({"train": 8, "val": 4, "test": 6}.items()):
        for index in range(count):
            files = write_square(100 * (number + 1) + index)
            for folder, data in zip(("images", "labels"), files, strict=False):
                path = root / f"data/storybook/{part}/{folder}/{index:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
    return root


@pytest.fixture
def toy_params(make_params: Callable[..., Params]) -> Callable[..., Params]:
    """Parameters that fit `training_root`: its classes, and trainings of four iterations."""

    def make(changes: dict[str, Any] | None = None) -> Params:
        return make_params(
            {
                "expand_prompts.classes": [
                    {"name": name, "phrases": [name], "synonyms": [], "hyponyms": []}
                    for name in ("red", "blue")
                ],
                "train_segmenter.config": "tiny.py",
                "train_segmenter.iterations": 4,
                "train_segmenter.checkpoint_interval": 2,
                "train_segmenter.batch_size": 4,
                "train_segmenter.warmup": 0.0,
                "train_segmenter.fade": 0.5,
                "train_segmenter.reliability": "weighted",
                **(changes or {}),
            }
        )

    return make


@pytest.fixture
def make_config(toy_params: Callable[..., Params], training_root: Path) -> Callable[..., Any]:
    """The config of a training of four iterations on the toy dataset, with some changes."""
    from tasks.training_config import build_config  # seconds to import, and needed by few tests

    def make(mapped: bool = True, others: dict[str, Any] | None = None, **changes: Any) -> Any:
        mine = {f"train_segmenter.{key}": value for key, value in changes.items()}
        section = toy_params({**mine, **(others or {})})
        train_set, val_set = (
            {
                "type": "ShardDataset",
                "folder": str(training_root / "data/dataset"),
                "split": split,
                "root": str(training_root),
            }
            for split in ("train", "val")
        )
        return build_config(
            section.train_segmenter,
            train_set,
            val_set,
            3,
            reliability=mapped,
            root=training_root,
        )

    return make


@pytest.fixture
def scoring_root(training_root: Path, tmp_path: Path) -> Path:
    """A repository root with the samples and masks of `training_root`'s dataset and ``tiny.py``."""
    root = tmp_path / "scoring"
    (root / "data").mkdir(parents=True)
    (root / "tiny.py").write_text(TINY_CONFIG)
    samples, masks, prompts = [], [], []
    for number, row in enumerate(read_rows(training_root / "data/dataset/index.parquet")):
        at = {kind: parse_uri(row[kind]) for kind in ("image", "label", "reliability")}
        name, red = f"sample{number}", number % 2 == 0
        samples.append(
            {
                "sample_id": name,
                "prompt_id": f"prompt{number}",
                "seed": number,
                "shard": at["image"].path,
                "image_offset": at["image"].offset,
                "image_size": at["image"].size,
                "attention_offset": 0,
                "attention_size": 0,
            }
        )
        shown = {"area": 0.25, "peak": 0.5, "margin": 0.6, "entropy": 0.2, "agreement": 0.9}
        masks.append(
            {
                "sample_id": name,
                "shard": "data/masks.tar",
                "label_offset": at["label"].offset,
                "label_size": at["label"].size,
                "entropy": 0.1,
                "classes": [{"name": "red" if red else "blue"} | shown],
            }
        )
        text = f"a {'red' if red else 'blue'} square, number {number // 4}"
        prompts.append({"prompt_id": f"prompt{number}", "seed": number, "text": text})
    for kind in ("image", "label", "reliability"):
        shutil.copy(training_root / f"data/{kind}.tar", root / "data")
    # A mask's label and reliability lie in one shard.
    parts = [(root / f"data/{kind}.tar").read_bytes() for kind in ("label", "reliability")]
    (root / "data/masks.tar").write_bytes(b"".join(parts))
    for mask, row in zip(
        masks, read_rows(training_root / "data/dataset/index.parquet"), strict=True
    ):
        trust = parse_uri(row["reliability"])
        mask["reliability_offset"] = len(parts[0]) + trust.offset
        mask["reliability_size"] = trust.size
    write_table(root / "data/samples/index.parquet", samples, SAMPLES)
    write_table(root / "data/masks/index.parquet", masks, MASKS)
    write_table(root / "data/prompts.parquet", prompts, PROMPTS)
    return root


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a finished training."""
    loaded: dict[str, torch.Tensor] = torch.load(folder / "weights.pth", weights_only=True)
    return loaded
