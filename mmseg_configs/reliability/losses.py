"""Losses that know how far each pixel's label can be trusted: pure functions, and their names.

All take logits ``float (N, C, H, W)`` and labels ``int64 (N, H, W)``. A pixel whose label is
``ignore_index`` counts in no sum, whatever the other maps say of it.
"""

from typing import Any

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool2d


def pixel_cross_entropy(logits: Tensor, label: Tensor, ignore_index: int = 255) -> Tensor:
    """``CE_i = -log softmax(logits_i)[label_i]``, ``float32 (N, H, W)``; 0 where ignored.

    In deterministic mode the pixels are laid out as rows first: CUDA sums the two-dimensional
    form's gradient in no fixed order.
    """
    logits = logits.float()
    if torch.are_deterministic_algorithms_enabled():
        rows = logits.movedim(1, -1).flatten(0, -2)
        losses = cross_entropy(rows, label.flatten(), reduction="none", ignore_index=ignore_index)
        return losses.view_as(label)
    return cross_entropy(logits, label, reduction="none", ignore_index=ignore_index)


def weighted_mean(
    losses: Tensor, label: Tensor, weights: Tensor | None, ignore_index: int
) -> Tensor:
    """``sum_i w_i L_i / sum_i w_i`` over the pixels i that are not ignored.

    The weights' sum in the denominator keeps the loss's scale: the same weight everywhere is the
    plain mean, whatever that weight is.

    Args:
        losses: float (N, H, W).
        weights: float (N, H, W), not negative; None weighs all alike.

    Returns:
        Scalar; 0 where nothing has weight.
    """
    counted = (label != ignore_index).to(losses.dtype)
    if weights is not None:
        counted = counted * weights.to(losses.dtype)
    return (counted * losses).sum() / counted.sum().clamp_min(torch.finfo(losses.dtype).tiny)


def reliability_weighted_cross_entropy(
    logits: Tensor, label: Tensor, weights: Tensor | None = None, ignore_index: int = 255
) -> Tensor:
    """``L = sum_i w_i CE_i / sum_i w_i``, see `weighted_mean`."""
    losses = pixel_cross_entropy(logits, label, ignore_index)
    return weighted_mean(losses, label, weights, ignore_index)


def generalised_cross_entropy(
    logits: Tensor,
    label: Tensor,
    weights: Tensor | None = None,
    q: float = 0.7,
    ignore_index: int = 255,
) -> Tensor:
    """``L = sum_i w_i (1 - p_i^q) / q / sum_i w_i``, p the probability of the label.

    Zhang and Sabuncu, NeurIPS 2018, eq. 6: cross-entropy for q towards 0, the mean absolute error
    for q = 1, which gives a wrong label no more pull than a right one. ``p^q`` is computed as
    ``exp(-q CE)``: p itself underflows for labels that the network rules out, and then the gradient
    of its power is NaN.

    Args:
        q: above 0, at most 1.
    """
    power = torch.exp(-q * pixel_cross_entropy(logits, label, ignore_index))
    return weighted_mean((1 - power) / q, label, weights, ignore_index)


def pixel_weights(trust: Tensor, strength: float) -> Tensor:
    """The weights ``w = 1 - strength * (1 - trust)``.

    Args:
        trust: any shape, 0..1.
        strength: 0 gives all pixels weight 1, 1 gives each its trust.
    """
    return 1 - strength * (1 - trust)


def reliable_pixels(reliability: Tensor, quantile: float) -> Tensor:
    """``M``: where the rank of the reliability is ``quantile`` or higher, ``bool`` of its shape.

    The stored rank is uniform within each class of an image, so ``quantile`` is also the share of
    a class's pixels that are called unreliable.

    Args:
        reliability: 0..1.
        quantile: 0 calls all pixels reliable.
    """
    return reliability >= quantile


def urn_trust(uncertainty: Tensor, sharpness: float) -> Tensor:
    """``exp(-sharpness * u)``: uncertainty 0..1, any shape, to trust 0..1.

    After URN (Li et al., AAAI 2022), which takes the variance of a pixel's label over scalings of
    the response for its uncertainty and weighs the loss by it. Here u is that variance over its
    largest value, see `tasks.uncertainty`.
    """
    return torch.exp(-sharpness * uncertainty)


def paste_border(pasted: Tensor) -> Tensor:
    """``B``: the band around pasted regions, 3x3 dilation minus erosion, ``bool (N, H, W)``.

    One pixel on either side of the border; the image's own edge is no border.

    Args:
        pasted: ``bool (N, H, W)``.
    """
    either = torch.stack([pasted, ~pasted], 1).float()
    return max_pool2d(either, kernel_size=3, stride=1, padding=1).bool().all(1)


def opinion_where_sure(logits: Tensor, said: Tensor, label: Tensor, sure: float) -> Tensor:
    """What a network says against the labels: its argmax where it is sure, elsewhere the label.

    Not in BECO, which takes every opinion. Meant for labels that are doubtful and mostly right all
    the same; ``presets/compare/reliability.yaml`` measures both.

    Args:
        logits: float (N, C, H, W).
        said: their argmax, ``int64 (N, H, W)``.
        label: ``int64 (N, H, W)``.
        sure: the least probability of the argmax; 0 takes every opinion.

    Returns:
        ``int64 (N, H, W)``.
    """
    if sure == 0:
        return said
    probability = logits.float().softmax(1).amax(1)
    return torch.where(probability >= sure, said, label)


def co_training_loss(
    logits: Tensor,
    label: Tensor,
    reliable: Tensor,
    opinion: Tensor,
    border: Tensor | None = None,
    border_weight: float = 0.2,
    ignore_index: int = 255,
) -> Tensor:
    """One network's part of the loss of co-training (BECO, Rong et al., CVPR 2023).

    ``L_i = mean(M CE(f_i, y) (1 + 0.2 B)) + mean((1 - M) CE(f_i, argmax f_j))``

    Reliable pixels learn from their labels, the others from what the other network says. The means
    are over all pixels of the batch, the ignored ones included: these add 0 to the sums and stay in
    the denominators, so a padded batch does not weigh its few pixels more. M is binary, so both
    terms are one cross-entropy with a target chosen per pixel.

    Args:
        logits: of network i.
        label: y.
        reliable: M, ``bool (N, H, W)``.
        opinion: argmax f_j, ``int64 (N, H, W)``, without gradient; see `opinion_where_sure`.
        border: B, ``bool (N, H, W)``; None where nothing was pasted.
        border_weight: the 0.2 above.

    Returns:
        Scalar.
    """
    target = torch.where(reliable | (label == ignore_index), label, opinion)
    losses = pixel_cross_entropy(logits, target, ignore_index)
    if border is not None:
        losses = losses * (1 + border_weight * (border & reliable))
    return losses.mean()


class _PixelLoss(nn.Module):
    """What MMSegmentation's heads expect of a loss: a weight, and a name that begins with loss."""

    def __init__(self, loss_weight: float = 1.0, loss_name: str = "loss_ce") -> None:
        super().__init__()
        self.loss_weight, self.loss_name = loss_weight, loss_name


@MODELS.register_module()
class ReliabilityCrossEntropy(_PixelLoss):
    """`reliability_weighted_cross_entropy` as a decode head's ``loss_decode``.

    Args:
        loss_weight: factor, such as 0.4 for an auxiliary head.
        loss_name: name in the log; MMEngine adds up what begins with ``loss``.
    """

    def forward(
        self, logits: Tensor, label: Tensor, weight: Tensor | None = None, ignore_index: int = 255
    ) -> Tensor:
        """The weighted loss; ``weight`` is ``float (N, H, W)``."""
        loss = reliability_weighted_cross_entropy(logits, label, weight, ignore_index)
        return self.loss_weight * loss


@MODELS.register_module()
class GeneralisedCrossEntropy(_PixelLoss):
    """`generalised_cross_entropy` as a decode head's ``loss_decode``.

    Args:
        q: see there.
        kwargs: ``loss_weight`` and ``loss_name``, see `ReliabilityCrossEntropy`.
    """

    def __init__(self, q: float = 0.7, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 < q <= 1:
            raise ValueError(f"q must be above 0 and at most 1, not {q}")
        self.q = q

    def forward(
        self, logits: Tensor, label: Tensor, weight: Tensor | None = None, ignore_index: int = 255
    ) -> Tensor:
        """The weighted loss; ``weight`` is ``float (N, H, W)``."""
        loss = generalised_cross_entropy(logits, label, weight, self.q, ignore_index)
        return self.loss_weight * loss
