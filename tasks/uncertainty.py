"""How unsure a pixel's label is: whether it varies with the response, and how even its scores are.

The first is URN's measure: Li et al., "Uncertainty Estimation via Response Scaling for Pseudo-mask
Noise Mitigation in Weakly-supervised Semantic Segmentation", AAAI 2022.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def label_variance(stack: Tensor, scalings: Sequence[float]) -> Tensor:
    """``u = (1 - sum_k f_k^2) / m``: f_k is the share of the S scalings with label k.

    ``1 - sum_k f_k^2`` is the variance of the label, summed over its one-hot components. The
    foreground's scores are scaled and the background's are not, so that its border moves with the
    scaling; the order within the foreground stays. So a pixel has at most two labels, background
    and its best class, and the variance is largest where each has half of the scalings:
    ``m = 2 floor(S/2) ceil(S/2) / S^2``.

    Args:
        stack: scores, float (N, 1 + K, H, W), background first.
        scalings: factors, at least two.

    Returns:
        ``float32 (N, H, W)``: 0 where all scalings agree, 1 where half of them say
        background.
    """
    count = len(scalings)
    shares = torch.zeros(stack.shape)
    for factor in scalings:
        scaled = torch.cat([stack[:, :1], factor * stack[:, 1:]], dim=1)
        shares.scatter_add_(1, scaled.argmax(1, keepdim=True), torch.full_like(shares, 1 / count))
    largest = 2 * (count // 2) * ((count + 1) // 2) / count**2
    return (1 - shares.square().sum(1)).clamp_min(0) / largest


def normalised_entropy(stack: Tensor) -> Tensor:
    """How undecided the scores are: ``(N, C, H, W)`` to ``float (N, H, W)``, 0..1.

    The entropy of the scores, cut off at 0 and divided by their sum, over that of C equal ones.
    """
    positive = stack.clamp(min=0)
    shares = positive / positive.sum(1, keepdim=True).clamp(min=torch.finfo(stack.dtype).tiny)
    entropy: Tensor = torch.special.entr(shares).sum(1)
    return entropy / math.log(stack.shape[1])
