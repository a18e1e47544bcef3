"""Fitting coarse score maps to an image's edges."""

import torch
from torch import Tensor
from torch.nn import functional


def box_mean(x: Tensor, radius: int) -> Tensor:
    """Mean over windows of side ``2 radius + 1``, ``(N, C, H, W)``; they shrink at the border."""
    return functional.avg_pool2d(x, 2 * radius + 1, 1, radius, count_include_pad=False)


def guided_filter(guide: Tensor, scores: Tensor, radius: int, epsilon: float) -> Tensor:
    """The guided filter with a colour guide (He, Sun, Tang, TPAMI 2013, section 3.4).

    In every window the output is an affine function of the guide, a^T I + b, the one that is
    closest to ``scores`` with a penalty ``epsilon`` on a: eq. 14 to 16 there.

    Args:
        guide: ``(N, 3, H, W)``, 0..1.
        scores: ``(N, C, H, W)``.
        radius: of the windows, in pixels.
        epsilon: regularisation; smaller keeps weaker edges.

    Returns:
        ``(N, C, H, W)``, the type of ``scores``.
    """
    c = scores.shape[1]
    mean_guide = box_mean(guide, radius)
    mean_scores = box_mean(scores, radius)
    products = (guide[:, :, None] * guide[:, None]).flatten(1, 2)
    second = box_mean(products, radius).unflatten(1, (3, 3))
    covariance = second - mean_guide[:, :, None] * mean_guide[:, None]
    cross = (guide[:, :, None] * scores[:, None]).flatten(1, 2)
    mixed = box_mean(cross, radius).unflatten(1, (3, c))
    mixed = mixed - mean_guide[:, :, None] * mean_scores[:, None]
    regular = covariance.permute(0, 3, 4, 1, 2) + epsilon * torch.eye(3, device=guide.device)
    slope = torch.linalg.solve(regular, mixed.permute(0, 3, 4, 1, 2)).permute(0, 3, 4, 1, 2)
    offset = mean_scores - (slope * mean_guide[:, :, None]).sum(1)
    slope = box_mean(slope.flatten(1, 2), radius).unflatten(1, (3, c))
    return (slope * guide[:, :, None]).sum(1) + box_mean(offset, radius)
