"""How much a pixel's label varies when the classes' response is scaled, as URN takes it.

Li et al., "Uncertainty Estimation via Response Scaling for Pseudo-mask Noise Mitigation in
Weakly-supervised Semantic Segmentation", AAAI 2022.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def label_variance(stack: Tensor, scalings: Sequence[float]) -> Tensor:
    """``u = (1 - sum_k f_k^2) / (1 - 1/S)``: f_k is the share of the S scalings with label k.

    ``1 - sum_k f_k^2`` is the variance of the label, summed over its one-hot components; the
    denominator is its largest value. The foreground's scores are scaled and the background's are
    not, so that its border moves with the scaling.

    Args:
        stack: scores, float (N, 1 + K, H, W), background first.
        scalings: factors, at least two.

    Returns:
        ``float32 (N, H, W)``: 0 where all scalings agree, 1 where no two do.
    """
    count = len(scalings)
    shares = torch.zeros(stack.shape)
    for factor in scalings:
        scaled = torch.cat([stack[:, :1], factor * stack[:, 1:]], dim=1)
        shares.scatter_add_(1, scaled.argmax(1, keepdim=True), torch.full_like(shares, 1 / count))
    return (1 - shares.square().sum(1)).clamp_min(0) / (1 - 1 / count)
