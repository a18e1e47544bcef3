"""The weighted loss against numbers worked out by hand."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from mmseg_configs.reliability.losses import (
    ReliabilityCrossEntropy,
    pixel_weights,
    reliability_weighted_cross_entropy,
)

LOGITS = torch.log(torch.tensor([[[[0.5, 0.9]], [[0.25, 0.05]], [[0.25, 0.05]]]]))
"""Two pixels with the probabilities (0.5, 0.25, 0.25) and (0.9, 0.05, 0.05)."""


def test_two_pixels_by_hand() -> None:
    label, weights = torch.tensor([[[0, 1]]]), torch.tensor([[[1.0, 0.25]]])
    expected = (1.0 * math.log(2) + 0.25 * math.log(20)) / 1.25
    loss = reliability_weighted_cross_entropy(LOGITS, label, weights)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert expected == pytest.approx(1.15366, abs=1e-5)


def test_an_ignored_pixel_counts_in_neither_sum() -> None:
    label, weights = torch.tensor([[[0, 255]]]), torch.tensor([[[0.5, 1.0]]])
    loss = reliability_weighted_cross_entropy(LOGITS, label, weights)
    assert loss.item() == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_the_same_weight_everywhere_is_plain_cross_entropy(weight: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 8, 8, generator=generator)
    label = torch.randint(0, 5, (2, 8, 8), generator=generator)
    label[0, :3] = 255
    plain = cross_entropy(logits, label, ignore_index=255)
    weights = torch.full((2, 8, 8), weight)
    torch.testing.assert_close(reliability_weighted_cross_entropy(logits, label, weights), plain)
    torch.testing.assert_close(reliability_weighted_cross_entropy(logits, label), plain)


@pytest.mark.parametrize(("label", "weight"), [(255, 1.0), (0, 0.0)])
def test_no_weight_at_all_is_zero_with_zero_gradient(label: int, weight: float) -> None:
    logits = LOGITS.clone().requires_grad_()
    labels, weights = torch.full((1, 1, 2), label), torch.full((1, 1, 2), weight)
    loss = reliability_weighted_cross_entropy(logits, labels, weights)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None and not logits.grad.any()


def test_pixel_weights_fade_from_one_to_the_reliability() -> None:
    reliability = torch.tensor([0.0, 0.5, 1.0])
    for strength, expected in [(0, [1.0, 1.0, 1.0]), (0.5, [0.5, 0.75, 1.0]), (1, [0, 0.5, 1.0])]:
        torch.testing.assert_close(pixel_weights(reliability, strength), torch.tensor(expected))


def test_the_module_scales_and_names_the_loss() -> None:
    module = ReliabilityCrossEntropy(loss_weight=0.4)
    label = torch.tensor([[[0, 255]]])
    assert module.loss_name == "loss_ce"
    assert module(LOGITS, label, weight=None).item() == pytest.approx(0.4 * math.log(2), rel=1e-6)
    assert module(LOGITS.bfloat16(), label).dtype == torch.float32
