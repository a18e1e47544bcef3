"""The reliability map follows the label map through what MMSegmentation does to it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope

from mmseg_configs.reliability import ReliabilityDataPreProcessor
from tasks.label_maps import encode_grey, encode_image, encode_label

LABEL = np.arange(24, dtype=np.uint8).reshape(4, 6)
"""Every pixel a class of its own; the reliability is ten times the class."""


def run(folder: Path, *steps: dict[str, Any], reliability: np.ndarray = LABEL * 10) -> Any:
    """Load the sample, apply ``steps`` and pack."""
    paths = {name: folder / f"{name}.png" for name in ("image", "label", "reliability")}
    paths["image"].write_bytes(encode_image(np.repeat(LABEL[..., None], 3, axis=2)))
    paths["label"].write_bytes(encode_label(LABEL))
    paths["reliability"].write_bytes(encode_grey(reliability))
    init_default_scope("mmseg")
    load = ("LoadImageFromFile", "LoadAnnotations", "LoadReliability")
    pipeline = Compose(
        [*({"type": name} for name in load), *steps, {"type": "PackReliabilityInputs"}]
    )
    return pipeline(
        {
            "img_path": str(paths["image"]),
            "seg_map_path": str(paths["label"]),
            "reliability_path": str(paths["reliability"]),
            "reduce_zero_label": False,
            "seg_fields": [],
        }
    )


@pytest.mark.parametrize(
    "step",
    [
        {"type": "RandomFlip", "prob": 1.0},
        {"type": "RandomFlip", "prob": 1.0, "direction": "vertical"},
        {"type": "RandomCrop", "crop_size": (3, 2)},
        {"type": "Resize", "scale": (12, 8), "keep_ratio": False},
    ],
    ids=lambda step: f"{step['type']}-{step.get('direction', '')}",
)
def test_every_pixel_keeps_its_reliability(tmp_path: Path, step: dict[str, Any]) -> None:
    packed = run(tmp_path, step)
    sample = packed["data_samples"]
    label, reliability = sample.gt_sem_seg.data, sample.gt_reliability.data
    assert label.shape == reliability.shape == (1, *packed["inputs"].shape[1:])
    torch.testing.assert_close(reliability, label * 10 / 255)
    if step["type"] == "RandomFlip" and "direction" not in step:
        assert label[0, 0].tolist() == [5, 4, 3, 2, 1, 0]


def test_where_rotation_uncovers_pixels_they_are_ignored(tmp_path: Path) -> None:
    sample = run(tmp_path, {"type": "RandomRotate", "prob": 1.0, "degree": (45, 45)})[
        "data_samples"
    ]
    uncovered = sample.gt_sem_seg.data == 255
    assert uncovered.any()
    torch.testing.assert_close(
        sample.gt_reliability.data[~uncovered], sample.gt_sem_seg.data[~uncovered] * 10 / 255
    )


def test_a_map_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be uint8 \(4, 6\) like its label map"):
        run(tmp_path, reliability=np.zeros((4, 5), np.uint8))


def test_padding_has_no_reliability_and_the_label_255(tmp_path: Path) -> None:
    preprocess = ReliabilityDataPreProcessor(size=(5, 8))
    sample = preprocess(pseudo_collate([run(tmp_path)]), training=True)["data_samples"][0]
    reliability, label = sample.gt_reliability.data[0], sample.gt_sem_seg.data[0]
    assert reliability.shape == label.shape == (5, 8)
    assert not reliability[4:].any() and not reliability[:, 6:].any()
    assert (label[4:] == 255).all() and (label[:, 6:] == 255).all()
    torch.testing.assert_close(reliability[:4, :6], torch.tensor(LABEL * 10) / 255)
