"""Losses that weigh every pixel, as plain functions, and their names for configs."""

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


def pixel_weights(reliability: Tensor, strength: float) -> Tensor:
    """The weights ``w = 1 - strength * (1 - reliability)``.

    Args:
        reliability: any shape, 0..1.
        strength: 0 gives all pixels weight 1, 1 gives each its reliability.
    """
    return 1 - strength * (1 - reliability)


def reliability_weighted_cross_entropy(
    logits: Tensor, label: Tensor, weights: Tensor | None = None, ignore_index: int = 255
) -> Tensor:
    """``L = sum_i w_i CE_i / sum_i w_i`` over the pixels i of the batch that are not ignored.

    The weights' sum in the denominator keeps the loss's scale: the same weight everywhere is plain
    cross-entropy, whatever that weight is.

    Args:
        logits: float (N, C, H, W).
        label: int64 (N, H, W), class or ``ignore_index``.
        weights: float (N, H, W), not negative; None weighs all alike.
        ignore_index: label of pixels that count in neither sum.

    Returns:
        Scalar; 0 where nothing has weight.
    """
    losses = cross_entropy(logits, label, reduction="none", ignore_index=ignore_index)
    counted = (label != ignore_index).to(losses.dtype)
    if weights is not None:
        counted = counted * weights.to(losses.dtype)
    return (counted * losses).sum() / counted.sum().clamp_min(torch.finfo(losses.dtype).tiny)


@MODELS.register_module()
class ReliabilityCrossEntropy(nn.Module):
    """`reliability_weighted_cross_entropy` as a decode head's ``loss_decode``.

    Args:
        loss_weight: factor, such as 0.4 for an auxiliary head.
        loss_name: name in the log; MMEngine adds up what begins with ``loss``.
    """

    def __init__(self, loss_weight: float = 1.0, loss_name: str = "loss_ce") -> None:
        super().__init__()
        self.loss_weight, self.loss_name = loss_weight, loss_name

    def forward(
        self, logits: Tensor, label: Tensor, weight: Tensor | None = None, ignore_index: int = 255
    ) -> Tensor:
        """The weighted loss; shapes as in `reliability_weighted_cross_entropy`."""
        loss = reliability_weighted_cross_entropy(logits.float(), label, weight, ignore_index)
        return self.loss_weight * loss
