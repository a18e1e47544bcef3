"""A trained network's label maps: colours, order, sizes, batches."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch.nn.functional import interpolate

from tasks.segmenter import Segmenter, build_network


@pytest.fixture
def segmenter(training_root: Path, tmp_path: Path) -> Segmenter:
    """The toy network with some weights."""
    cfg = Config.fromfile(training_root / "tiny.py")
    cfg.model.decode_head.num_classes = cfg.model.auxiliary_head.num_classes = 3
    cfg.dump(tmp_path / "config.py")
    torch.manual_seed(0)
    torch.save(build_network(cfg).state_dict(), tmp_path / "weights.pth")
    return Segmenter(tmp_path, "cpu")


def test_label_maps_come_in_order_each_with_its_images_size(segmenter: Segmenter) -> None:
    rng = np.random.default_rng(0)
    sizes = [(16, 16), (16, 16), (20, 12), (16, 16), (16, 16), (16, 16)]
    images = [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]
    labels = list(segmenter.label(iter(images), batch_size=2))
    assert len(labels) == len(images)
    for image, label in zip(images, labels, strict=True):
        normed = (torch.tensor(image).permute(2, 0, 1)[None].float() - 128) / 64  # RGB
        with torch.no_grad():
            logits = interpolate(segmenter.network(normed), size=image.shape[:2], mode="bilinear")
        assert label.dtype == np.uint8
        np.testing.assert_array_equal(label, logits[0].argmax(0))
    assert len(np.unique(np.concatenate([label.ravel() for label in labels]))) > 1
