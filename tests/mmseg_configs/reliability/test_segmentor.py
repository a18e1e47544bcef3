"""Reliability reaches the loss of every head, and only through the weights."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_configs.reliability.batch import Phase
from mmseg_configs.reliability.losses import (
    generalised_cross_entropy,
    reliability_weighted_cross_entropy,
)
from tasks.params import InputError

CLASSES = 3


def head(**changes: Any) -> dict[str, Any]:
    return {
        "type": "FCNHead",
        "in_channels": 4,
        "channels": 4,
        "num_convs": 1,
        "concat_input": False,
        "dropout_ratio": 0,
        "num_classes": CLASSES,
        "loss_decode": {"type": "ReliabilityCrossEntropy"},
        **changes,
    }


def build(**changes: Any) -> Any:
    """A network of a few hundred weights with an auxiliary head."""
    init_default_scope("mmseg")
    auxiliary_loss = {"type": "ReliabilityCrossEntropy", "loss_weight": 0.4}
    config = {
        "type": "ReliabilityEncoderDecoder",
        "backbone": {
            "type": "ResNet",
            "depth": 18,
            "num_stages": 1,
            "out_indices": (0,),
            "strides": (1,),
            "dilations": (1,),
            "stem_channels": 4,
            "base_channels": 4,
        },
        "decode_head": head(),
        "auxiliary_head": [head(loss_decode=auxiliary_loss)],
        **changes,
    }
    torch.manual_seed(0)
    network = MODELS.build(deepcopy(config))
    network.eval()  # the batch's statistics would tie all pixels together
    return network


def samples(label: Tensor, reliability: Tensor | None) -> list[SegDataSample]:
    """One data sample per label map ``(N, H, W)``."""
    batch = []
    for number, one in enumerate(label):
        sample = SegDataSample(gt_sem_seg=PixelData(data=one[None]))
        if reliability is not None:
            sample.set_data({"gt_reliability": PixelData(data=reliability[number][None])})
        batch.append(sample)
    return batch


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels with some 255, reliability."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 16, 16, generator=generator)
    label = torch.randint(0, CLASSES, (2, 16, 16), generator=generator)
    label[:, :2] = 255
    return images, label, torch.rand(2, 16, 16, generator=generator)


def total(network: Any, batch: tuple[Tensor, Tensor, Tensor | None]) -> dict[str, Tensor]:
    images, label, reliability = batch
    losses: dict[str, Tensor] = network.loss(images, samples(label, reliability))
    return losses


def test_each_head_weighs_its_own_loss(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    network = build()
    network.phase = Phase(strength=0.5)
    losses = total(network, batch)
    images, label, reliability = batch
    weights = 0.5 + 0.5 * reliability
    features = network.extract_feat(images)
    for name, part, scale in [
        ("decode", network.decode_head, 1.0),
        ("aux_0", network.auxiliary_head[0], 0.4),
    ]:
        logits = torch.nn.functional.interpolate(part(features), size=(16, 16), mode="bilinear")
        expected = scale * reliability_weighted_cross_entropy(logits, label, weights)
        torch.testing.assert_close(losses[f"{name}.loss_ce"], expected)
    counted = network.counts.read(["none", "car", "boat"], two_networks=False)
    mean = weights[label != 255].mean().item()
    assert counted["reliable"] == pytest.approx(mean, abs=1e-4)


def test_a_step_by_generalised_cross_entropy_weighs_the_pixels(
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    loss = {"type": "GeneralisedCrossEntropy", "q": 0.7}
    network = build(
        decode_head=head(loss_decode=loss),
        auxiliary_head=[head(loss_decode={**loss, "loss_weight": 0.4})],
    )
    network.phase = Phase(strength=1.0)
    images, label, reliability = batch
    before = total(network, batch)
    logits = torch.nn.functional.interpolate(
        network.decode_head(network.extract_feat(images)), size=(16, 16), mode="bilinear"
    )
    expected = generalised_cross_entropy(logits, label, reliability, q=0.7)
    torch.testing.assert_close(before["decode.loss_ce"], expected)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    (before["decode.loss_ce"] + before["aux_0.loss_ce"]).backward()
    optimizer.step()
    after = total(network, batch)
    for name in ("decode.loss_ce", "aux_0.loss_ce"):
        assert after[name] < before[name]


def test_full_trust_no_strength_and_no_map_are_plain_cross_entropy(
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    images, label, reliability = batch
    stock = {"type": "CrossEntropyLoss", "avg_non_ignore": True}
    plain = build(decode_head=head(loss_decode=stock))
    expected = total(plain, (images, label, None))["decode.loss_ce"]
    network = build()
    for strength, given in [(1.0, None), (1.0, torch.ones_like(reliability)), (0.0, reliability)]:
        network.phase = Phase(strength)
        loss = total(network, (images, label, given))["decode.loss_ce"]
        torch.testing.assert_close(loss, expected)


def test_each_method_turns_the_map_into_its_weights() -> None:
    reliability = torch.tensor([0.0, 0.4, 0.6, 1.0])
    expected = {
        "weighted": [0.2, 0.52, 0.68, 1.0],
        "ignore_band": [0, 0, 1, 1],
        "urn": [0.1353, 0.3012, 0.4493, 1.0],
    }
    for method, weights in expected.items():
        network = build(method=method, least=0.2, quantile=0.5, sharpness=2.0)
        torch.testing.assert_close(
            network.weights(reliability), torch.tensor(weights).float(), atol=1e-4, rtol=0
        )
        network.phase = Phase(strength=0.0)
        assert network.weights(reliability).tolist() == [1, 1, 1, 1]


def test_a_map_that_was_not_padded_like_its_label_is_refused(
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    images, label, reliability = batch
    with pytest.raises(InputError, match=r"sample .* is \(15, 16\) and the label map \(16, 16\)"):
        total(build(), (images, label, reliability[:, 1:]))


def test_a_sample_without_a_map_is_trusted_beside_one_with_a_map(
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    images, label, reliability = batch
    network = build()
    mixed = [*samples(label[:1], reliability[:1]), *samples(label[1:], None)]
    filled = torch.cat([reliability[:1], torch.ones_like(reliability[1:])])
    torch.testing.assert_close(
        network.loss(images, mixed)["decode.loss_ce"],
        total(network, (images, label, filled))["decode.loss_ce"],
    )


def test_an_unreliable_pixel_sends_no_gradient(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    images, label, _ = batch
    gradients = []
    for values in (label, torch.where(label == 255, label, (label + 1) % CLASSES)):
        network = build()
        reliability = torch.zeros(2, 16, 16)
        reliability[:, 8:] = 1
        same_below = torch.where(reliability > 0, label, values)
        loss = total(network, (images, same_below, reliability))["decode.loss_ce"]
        loss.backward()
        gradients.append(network.decode_head.conv_seg.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_heads_that_would_pass_over_the_reliability_are_refused() -> None:
    with pytest.raises(ValueError, match="decode_head: takes reliability as pixel weights"):
        build(decode_head=head(sampler={"type": "OHEMPixelSampler"}))
    with pytest.raises(ValueError, match="STDCHead computes its loss in its own way"):
        build(auxiliary_head=head(type="STDCHead", boundary_threshold=0.1))


@pytest.mark.parametrize(
    "loss",
    [
        {"type": "LovaszLoss", "per_image": True},
        {"type": "TverskyLoss"},
        {"type": "DiceLoss"},
        {"type": "FocalLoss"},
        {"type": "CrossEntropyLoss", "use_sigmoid": True},
    ],
    ids=lambda loss: loss["type"],
)
def test_losses_that_do_not_weigh_pixels_are_refused(loss: dict[str, Any]) -> None:
    both = [{"type": "CrossEntropyLoss"}, {**loss, "loss_name": "loss_other"}]
    with pytest.raises(ValueError, match=rf"decode_head: reliability needs .* not {loss['type']};"):
        build(decode_head=head(loss_decode=both))
    build(decode_head=head(loss_decode={"type": "GeneralisedCrossEntropy"}))
