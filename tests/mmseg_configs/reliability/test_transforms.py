"""Labels of either width and their reliability through what MMSegmentation does to them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed

from mmseg_configs.reliability import LoadReliability, ReliabilityDataPreProcessor
from tasks.label_maps import encode_grey, encode_image, encode_label
from tasks.params import InputError

LABEL = np.arange(24, dtype=np.uint8).reshape(4, 6)
"""Every pixel a class of its own; the reliability is ten times the class."""


def run(
    folder: Path,
    *steps: dict[str, Any],
    reliability: np.ndarray = LABEL * 10,
    label: np.ndarray = LABEL,
    loader: str = "LoadAnnotations",
    **more: Any,
) -> Any:
    """Load the sample, apply ``steps`` and pack."""
    paths = {name: folder / f"{name}.png" for name in ("image", "label", "reliability")}
    paths["image"].write_bytes(encode_image(np.repeat(LABEL[..., None], 3, axis=2)))
    paths["label"].write_bytes(encode_label(label))
    paths["reliability"].write_bytes(encode_grey(reliability))
    init_default_scope("mmseg")
    load = ("LoadImageFromFile", loader, "LoadReliability")
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
            **more,
        }
    )


@pytest.mark.parametrize(
    "step",
    [
        {"type": "RandomFlip", "prob": 1.0},
        {"type": "RandomFlip", "prob": 1.0, "direction": "vertical"},
        {"type": "RandomCrop", "crop_size": (3, 2)},
        {"type": "Resize", "scale": (12, 8), "keep_ratio": False},
        {"type": "PhotoMetricDistortion"},
    ],
    ids=lambda step: f"{step['type']}-{step.get('direction', '')}",
)
def test_every_pixel_keeps_its_reliability(tmp_path: Path, step: dict[str, Any]) -> None:
    set_random_seed(0)  # crops and distortions are drawn
    packed = run(tmp_path, step)
    sample = packed["data_samples"]
    label, reliability = sample.gt_sem_seg.data, sample.gt_reliability.data
    assert label.shape == reliability.shape == (1, *packed["inputs"].shape[1:])
    torch.testing.assert_close(reliability, label * 10 / 255)
    if step["type"] == "RandomFlip" and "direction" not in step:
        assert label[0, 0].tolist() == [5, 4, 3, 2, 1, 0]
    if step["type"] == "PhotoMetricDistortion":
        assert label[0].tolist() == LABEL.tolist()
        assert not torch.equal(packed["inputs"], run(tmp_path)["inputs"])


def test_where_rotation_uncovers_pixels_they_are_ignored(tmp_path: Path) -> None:
    sample = run(tmp_path, {"type": "RandomRotate", "prob": 1.0, "degree": (45, 45)})[
        "data_samples"
    ]
    uncovered = sample.gt_sem_seg.data == 255
    assert uncovered.any()
    torch.testing.assert_close(
        sample.gt_reliability.data[~uncovered], sample.gt_sem_seg.data[~uncovered] * 10 / 255
    )


def test_trust_is_the_complement_of_uncertainty(tmp_path: Path) -> None:
    (tmp_path / "uncertainty.png").write_bytes(encode_grey(LABEL * 10))
    results = {
        "gt_seg_map": LABEL,
        "seg_fields": ["gt_seg_map"],
        "seg_map_path": "label.png",
        "uncertainty_path": str(tmp_path / "uncertainty.png"),
    }
    loaded = LoadReliability(source="uncertainty").transform(dict(results))
    assert np.array_equal(loaded["gt_reliability"], 255 - LABEL * 10)
    with pytest.raises(InputError, match=r"label\.png: sample .* has no reliability map"):
        LoadReliability().transform(results)


def test_a_map_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"of sample .*image\.png must be uint8 \(4, 6\) like"):
        run(tmp_path, reliability=np.zeros((4, 5), np.uint8))


def test_a_transform_that_changes_the_label_map_alone_is_told(tmp_path: Path) -> None:
    """Stock `Pad` does, with which nothing was said and the preprocessor cropped or padded."""
    with pytest.raises(InputError, match=r"sample s7 is \(4, 6\) and the label map \(5, 8\)"):
        run(tmp_path, {"type": "Pad", "size": (8, 5)}, sample_id="s7")


def test_padding_in_the_pipeline_has_no_reliability(tmp_path: Path) -> None:
    sample = run(tmp_path, {"type": "PadReliability", "size": (8, 5)})["data_samples"]
    reliability, label = sample.gt_reliability.data[0], sample.gt_sem_seg.data[0]
    assert reliability.shape == label.shape == (5, 8)
    assert not reliability[4:].any() and not reliability[:, 6:].any()
    assert (label[4:] == 255).all() and (label[:, 6:] == 255).all()
    torch.testing.assert_close(reliability[:4, :6], torch.tensor(LABEL * 10) / 255)


def test_padding_has_no_reliability_and_the_label_255(tmp_path: Path) -> None:
    preprocess = ReliabilityDataPreProcessor(size=(5, 8))
    sample = preprocess(pseudo_collate([run(tmp_path)]), training=True)["data_samples"][0]
    reliability, label = sample.gt_reliability.data[0], sample.gt_sem_seg.data[0]
    assert reliability.shape == label.shape == (5, 8)
    assert not reliability[4:].any() and not reliability[:, 6:].any()
    assert (label[4:] == 255).all() and (label[:, 6:] == 255).all()
    torch.testing.assert_close(reliability[:4, :6], torch.tensor(LABEL * 10) / 255)


WIDE = (LABEL.astype(np.uint16) * 40 + 15) | (LABEL.astype(np.uint16) == 3) * np.uint16(65535)
"""Labels 15 to 935, 255 among them, and one ignored pixel."""


def test_16_bit_labels_keep_their_values_and_255_is_a_class(tmp_path: Path) -> None:
    assert (WIDE == 255).sum() == (WIDE == 65535).sum() == 1
    sample = run(tmp_path, label=WIDE, loader="LoadLabelMap")["data_samples"]
    assert sample.gt_sem_seg.data[0].tolist() == WIDE.tolist()
    narrow = np.where(LABEL == 3, np.uint8(255), LABEL)
    sample = run(tmp_path, label=narrow, loader="LoadLabelMap")["data_samples"]
    expected = np.where(LABEL == 3, 65535, LABEL.astype(np.int64))
    assert sample.gt_sem_seg.data[0].tolist() == expected.tolist()


@pytest.mark.parametrize(
    "step",
    [
        {"type": "RandomFlip", "prob": 1.0},
        {"type": "RandomCrop", "crop_size": (3, 2), "ignore_index": 65535},
        {"type": "Resize", "scale": (12, 8), "keep_ratio": False},
        {"type": "PhotoMetricDistortion"},
        {"type": "PadReliability", "size": (8, 5), "pad_val": {"img": 0, "seg": 65535}},
    ],
    ids=lambda step: step["type"],
)
def test_16_bit_labels_and_their_reliability_stay_together(
    tmp_path: Path, step: dict[str, Any]
) -> None:
    sample = run(tmp_path, step, label=WIDE, loader="LoadLabelMap")["data_samples"]
    label, reliability = sample.gt_sem_seg.data, sample.gt_reliability.data
    if step["type"] == "PadReliability":
        assert label.shape == reliability.shape == (1, 5, 8)
        for made_up in (np.s_[:, 4:], np.s_[:, :, 6:]):
            assert (label[made_up] == 65535).all() and not reliability[made_up].any()
        label, reliability = label[:, :4, :6], reliability[:, :4, :6]
    if step["type"] in ("PhotoMetricDistortion", "PadReliability"):
        assert label[0].tolist() == WIDE.tolist()
    values = torch.round(reliability * 255 / 10).long()
    expected = torch.where(values == 3, 65535, values * 40 + 15)
    assert torch.equal(label, expected)


def test_rotating_and_padding_uncover_65535(tmp_path: Path) -> None:
    rotate = {"type": "RandomRotate", "prob": 1.0, "degree": (45, 45), "seg_pad_val": 65535}
    packed = run(tmp_path, rotate, label=WIDE, loader="LoadLabelMap")
    label = packed["data_samples"].gt_sem_seg.data
    assert (label == 65535).sum() > 4 and set(label.flatten().tolist()) <= {*WIDE.flatten()}
    packed = run(tmp_path, label=WIDE, loader="LoadLabelMap")
    preprocess = ReliabilityDataPreProcessor(size=(5, 8), seg_pad_val=65535)
    sample = preprocess(pseudo_collate([packed]), training=True)["data_samples"][0]
    label = sample.gt_sem_seg.data[0]
    assert (label[4:] == 65535).all() and (label[:, 6:] == 65535).all()
    assert torch.equal(label[:4, :6], torch.tensor(WIDE.astype(np.int64)))
