"""The losses against numbers worked out by hand."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from mmseg_configs.reliability.losses import (
    GeneralisedCrossEntropy,
    ReliabilityCrossEntropy,
    co_training_loss,
    generalised_cross_entropy,
    opinion_where_sure,
    paste_border,
    pixel_cross_entropy,
    pixel_weights,
    reliability_weighted_cross_entropy,
    reliable_pixels,
    urn_trust,
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


def random_batch(ignore_index: int = 255, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of two images of 8x8 pixels, and labels of which three rows are ignored."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, classes, 8, 8, generator=generator)
    label = torch.randint(0, classes, (2, 8, 8), generator=generator)
    label[0, :3] = ignore_index
    return logits, label


def test_deterministic_mode_computes_the_same_loss() -> None:
    logits, label = random_batch()
    plain = pixel_cross_entropy(logits, label)
    torch.use_deterministic_algorithms(True)
    try:
        torch.testing.assert_close(pixel_cross_entropy(logits, label), plain)
    finally:
        torch.use_deterministic_algorithms(False)


def test_in_16_bits_255_is_a_class_and_65535_is_ignored() -> None:
    logits, label = random_batch(65535, classes=300)
    label[0, 3] = 255
    losses = pixel_cross_entropy(logits, label, ignore_index=65535)
    assert not losses[0, :3].any()
    torch.testing.assert_close(losses[0, 3], -logits.log_softmax(1)[0, 255, 3])


def test_generalised_cross_entropy_by_hand() -> None:
    label = torch.tensor([[[0, 1]]])  # probabilities 0.5 and 0.05
    expected = ((1 - 0.5**0.7) / 0.7 + (1 - 0.05**0.7) / 0.7) / 2
    assert generalised_cross_entropy(LOGITS, label).item() == pytest.approx(expected, rel=1e-5)
    absolute = generalised_cross_entropy(LOGITS, label, q=1.0)
    assert absolute.item() == pytest.approx((0.5 + 0.95) / 2, rel=1e-5)
    towards_log = generalised_cross_entropy(LOGITS, label, q=1e-4).item()
    assert towards_log == pytest.approx(cross_entropy(LOGITS, label).item(), rel=1e-3)
    weights = torch.tensor([[[1.0, 0.0]]])
    module = GeneralisedCrossEntropy(q=1.0, loss_weight=0.4)
    assert module(LOGITS, label, weights).item() == pytest.approx(0.4 * 0.5, rel=1e-5)
    with pytest.raises(ValueError, match="q must be above 0"):
        GeneralisedCrossEntropy(q=0.0)


def test_generalised_cross_entropy_of_a_label_that_is_ruled_out_has_a_gradient() -> None:
    logits = torch.tensor([200.0, 0.0]).reshape(1, 2, 1, 1).requires_grad_()
    loss = generalised_cross_entropy(logits, torch.tensor([[[1]]]))
    loss.backward()
    assert loss.item() == pytest.approx(1 / 0.7)
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_ranks_below_the_quantile_are_unreliable() -> None:
    rank = torch.arange(256) / 255
    assert reliable_pixels(rank, 0.0).all()
    assert reliable_pixels(rank, 0.5).float().mean().item() == 0.5
    assert reliable_pixels(torch.tensor([0.49, 0.5]), 0.5).tolist() == [False, True]


def test_certain_labels_are_trusted_in_full() -> None:
    trust = urn_trust(torch.tensor([0.0, 0.5, 1.0]), sharpness=2.0)
    torch.testing.assert_close(trust, torch.tensor([1.0, math.exp(-1), math.exp(-2)]))


def test_the_border_is_one_pixel_on_either_side() -> None:
    pasted = torch.zeros(1, 5, 7, dtype=torch.bool)
    pasted[0, :, 4:] = True
    assert paste_border(pasted)[0].float().mean(0).tolist() == [0, 0, 0, 1, 1, 0, 0]
    assert not paste_border(torch.zeros_like(pasted)).any()
    assert not paste_border(torch.ones_like(pasted)).any()


@pytest.mark.parametrize(("sure", "expected"), [(0.0, [0, 0]), (0.6, [1, 0]), (0.95, [1, 2])])
def test_an_unsure_opinion_leaves_the_label(sure: float, expected: list[int]) -> None:
    opinion = opinion_where_sure(LOGITS, LOGITS.argmax(1), torch.tensor([[[1, 2]]]), sure)
    assert opinion.tolist() == [[expected]]


def test_co_training_by_hand() -> None:
    """A reliable border pixel learns its label, an unreliable one the other's opinion."""
    label = torch.tensor([[[0, 2]]])
    reliable = torch.tensor([[[True, False]]])
    opinion = torch.tensor([[[1, 1]]])
    border = torch.ones(1, 1, 2, dtype=torch.bool)
    loss = co_training_loss(LOGITS, label, reliable, opinion, border)
    assert loss.item() == pytest.approx((1.2 * math.log(2) + math.log(20)) / 2, rel=1e-6)
    plain = co_training_loss(LOGITS, label, reliable, opinion)
    assert plain.item() == pytest.approx((math.log(2) + math.log(20)) / 2, rel=1e-6)


def test_co_training_is_the_formula_term_by_term() -> None:
    logits, label = random_batch()
    label[label == 255] = 0
    generator = torch.Generator().manual_seed(1)
    reliable, border = torch.rand(2, 2, 8, 8, generator=generator) > 0.5
    opinion = torch.randint(0, 5, (2, 8, 8), generator=generator)
    given = cross_entropy(logits, label, reduction="none")
    cross = cross_entropy(logits, opinion, reduction="none")
    expected = (reliable * given * (1 + 0.2 * border)).mean() + (~reliable * cross).mean()
    torch.testing.assert_close(co_training_loss(logits, label, reliable, opinion, border), expected)


def test_with_reliable_labels_alone_it_is_plain_cross_entropy() -> None:
    logits, label = random_batch()
    label[label == 255] = 0
    reliable, opinion = torch.ones_like(label, dtype=torch.bool), (label + 1) % 5
    loss = co_training_loss(logits, label, reliable, opinion)
    torch.testing.assert_close(loss, cross_entropy(logits, label))


@pytest.mark.parametrize("ignore_index", [255, 65535])
def test_ignored_pixels_add_nothing_and_stay_in_the_mean(ignore_index: int) -> None:
    logits, label = random_batch(ignore_index)
    logits.requires_grad_()
    reliable = torch.zeros_like(label, dtype=torch.bool)
    reliable[:, ::2] = True
    opinion = torch.zeros_like(label)
    loss = co_training_loss(logits, label, reliable, opinion, ignore_index=ignore_index)
    target = torch.where(reliable, label, opinion).masked_fill(label == ignore_index, -100)
    total = cross_entropy(logits, target, reduction="sum")
    torch.testing.assert_close(loss, total / label.numel())
    loss.backward()
    assert logits.grad is not None and not logits.grad[0, :, :3].any()


def test_where_labels_are_unreliable_nothing_depends_on_them() -> None:
    logits, label = random_batch()
    label[label == 255] = 0
    reliable = torch.zeros_like(label, dtype=torch.bool)
    reliable[:, 4:] = True
    other = torch.where(reliable, label, (label + 1) % 5)
    opinion = torch.ones_like(label)
    gradients = []
    for values in (label, other):
        given = logits.clone().requires_grad_()
        co_training_loss(given, values, reliable, opinion).backward()
        gradients.append(given.grad)
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
