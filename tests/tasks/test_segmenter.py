"""A trained network's label maps: colours, order, sizes, batches."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.apis import inference_model, init_model
from torch.nn.functional import interpolate

from tasks.params import InputError
from tasks.records import write_json
from tasks.segmenter import Segmenter, build_network


@pytest.fixture
def folder(training_root: Path, tmp_path: Path) -> Path:
    """The toy network with some weights."""
    cfg = Config.fromfile(training_root / "tiny.py")
    cfg.model.decode_head.num_classes = cfg.model.auxiliary_head.num_classes = 3
    cfg.dump(tmp_path / "config.py")
    torch.manual_seed(0)
    network = build_network(cfg)
    network.decode_head.conv_seg.bias.data.zero_()  # it alone would decide
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    return tmp_path


def random_images(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]


def probabilities(segmenter: Segmenter, image: np.ndarray) -> torch.Tensor:
    """What the bare network says of an RGB image, ``(C, H, W)``."""
    network = getattr(segmenter.network, "module", segmenter.network)
    normed = (torch.tensor(image.copy()).permute(2, 0, 1)[None].float() - 128) / 64
    with torch.no_grad():
        logits = interpolate(network(normed), size=image.shape[:2], mode="bilinear")
    return logits.softmax(1)[0]


def test_label_maps_come_in_order_each_with_its_images_size(folder: Path) -> None:
    segmenter = Segmenter(folder, "cpu")
    sizes = [(16, 16), (16, 16), (20, 12), (16, 16), (16, 16), (16, 16)]
    images = random_images(*sizes)
    labels = list(segmenter.label(iter(images), batch_size=2))
    assert len(labels) == len(images)
    for image, label in zip(images, labels, strict=True):
        assert label.dtype == np.uint8
        np.testing.assert_array_equal(label, probabilities(segmenter, image).argmax(0))
    assert len(np.unique(np.concatenate([label.ravel() for label in labels]))) > 1


def test_flips_and_scales_are_averaged(folder: Path) -> None:
    images = random_images((16, 16), (16, 16), (12, 20))
    plain = Segmenter(folder, "cpu")
    flipped = list(Segmenter(folder, "cpu", flip=True).label(images))
    scaled = list(Segmenter(folder, "cpu", scales=(1.0, 2.0)).label(images))
    for image, flip, scale in zip(images, flipped, scaled, strict=True):
        once = probabilities(plain, image)
        mirror = probabilities(plain, image[:, ::-1]).flip(2)
        np.testing.assert_array_equal(flip, (once + mirror).argmax(0))
        large = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        logits = probabilities(plain, large).log()[None]
        small = interpolate(logits, size=image.shape[:2], mode="bilinear").softmax(1)[0]
        assert (scale == (once + small).argmax(0).numpy()).mean() > 0.98
        assert flip.shape == scale.shape == image.shape[:2]
    assert any((a != b).any() for a, b in zip(flipped, plain.label(images), strict=True))


def test_windows_overlap_by_a_third(folder: Path) -> None:
    """Rows 0..5, 4..9 and 6..11: what two windows cover is the mean of their logits."""
    segmenter = Segmenter(folder, "cpu", window=(6, 16))
    (image,) = random_images((12, 16))
    (label,) = segmenter.label([image])
    total, count = torch.zeros(3, 12, 16), torch.zeros(12, 16)
    normed = (torch.tensor(image).permute(2, 0, 1)[None].float() - 128) / 64
    for top in (0, 4, 6):
        with torch.no_grad():
            part = segmenter.network(normed[:, :, top : top + 6])
        total[:, top : top + 6] += interpolate(part, size=(6, 16), mode="bilinear")[0]
        count[top : top + 6] += 1
    np.testing.assert_array_equal(label, (total / count).argmax(0))


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    weights = torch.load(folder / "weights.pth", weights_only=True)
    weights["decode_head.conv_seg.weight"] = torch.zeros(5, 8, 1, 1)
    torch.save(weights, folder / "weights.pth")
    with pytest.raises(InputError, match=r"weights\.pth: these are the weights of another network"):
        Segmenter(folder, "cpu")


def test_many_classes_have_labels_of_16_bits(folder: Path) -> None:
    cfg = Config.fromfile(folder / "config.py")
    cfg.model.decode_head.num_classes = cfg.model.auxiliary_head.num_classes = 300
    cfg.dump(folder / "config.py")
    network = build_network(cfg)
    network.decode_head.conv_seg.bias.data[255] = 100
    torch.save(network.state_dict(), folder / "weights.pth")
    (label,) = Segmenter(folder, "cpu").label(random_images((8, 8)))
    assert label.dtype == np.uint16 and (label == 255).all()


STOCK_CONFIG = """
norm = dict(type="SyncBN", requires_grad=True)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(type="SegDataPreProcessor", size=(16, 16), bgr_to_rgb=True,
                           mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    pretrained="open-mmlab://resnet18_v1c",
    backbone=dict(type="ResNetV1c", depth=18, num_stages=1, out_indices=(0,), strides=(1,),
                  dilations=(1,), stem_channels=8, base_channels=8, norm_cfg=norm),
    decode_head=dict(type="FCNHead", in_channels=8, channels=8, num_convs=1, concat_input=False,
                     num_classes=4, norm_cfg=norm,
                     loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False)),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(32, 24), keep_ratio=True),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
"""
"""As MMSegmentation writes them, with a backbone that it would fetch to train."""


def test_a_stock_config_and_checkpoint_label_as_mmsegmentation_does(tmp_path: Path) -> None:
    config, checkpoint = tmp_path / "stock.py", tmp_path / "stock.pth"
    config.write_text(STOCK_CONFIG)
    torch.manual_seed(0)
    network = build_network(Config.fromfile(config))
    network.decode_head.conv_seg.bias.data.zero_()
    meta = {"dataset_meta": {"classes": ("road", "sky", "tree", "car"), "palette": None}}
    torch.save({"state_dict": network.state_dict(), "meta": meta}, checkpoint)
    segmenter = Segmenter(config, "cpu", checkpoint=checkpoint)
    assert segmenter.class_names == ["road", "sky", "tree", "car"]
    images = random_images((12, 16), (12, 16), (20, 10))
    ours = list(segmenter.label(images, 2))
    model = init_model(str(config), str(checkpoint), device="cpu")
    for image, label in zip(images, ours, strict=True):
        theirs = inference_model(model, np.ascontiguousarray(image[..., ::-1]))
        np.testing.assert_array_equal(label, theirs.pred_sem_seg.data[0].numpy())
    assert len(np.unique(np.concatenate([label.ravel() for label in ours]))) > 1


def test_classes_have_names_where_they_are_known(folder: Path) -> None:
    assert Segmenter(folder, "cpu").class_names == ["0", "1", "2"]
    write_json(folder / "classes.json", ["background", "red", "blue"])
    assert Segmenter(folder, "cpu").class_names == ["background", "red", "blue"]
    write_json(folder / "classes.json", ["red", "blue"])
    with pytest.raises(InputError, match="names 2 classes, and the network tells 3 apart"):
        Segmenter(folder, "cpu")


def test_a_network_needs_its_config_and_its_weights(folder: Path) -> None:
    config, weights = folder / "config.py", folder / "weights.pth"
    assert Segmenter(config, "cpu", checkpoint=weights).class_names == ["0", "1", "2"]
    for model, checkpoint, message in (
        (config, None, "is no folder with config.py and weights.pth"),
        (folder, weights, "a folder has its own weights.pth"),
        (folder / "none.py", weights, "none.py: no such file; a network needs its config"),
        (config, folder / "none.pth", "none.pth: no such file"),
    ):
        with pytest.raises(InputError, match=message):
            Segmenter(model, "cpu", checkpoint=checkpoint)
    cfg = Config.fromfile(config)
    cfg.pop("test_pipeline")
    cfg.dump(config)
    with pytest.raises(InputError, match=r"config\.py: has no test_pipeline"):
        Segmenter(folder, "cpu")
