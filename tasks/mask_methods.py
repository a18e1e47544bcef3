"""From attention maps to class scores: one function a method, batches of equal shapes.

All give a stack ``(N, 1 + K, H, W)``, background first; its argmax is the label. Where there is no
background, that channel stands for "no class is sure of this". What a class's map shows is
relative: every method scales it to 0..1 within the image.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tasks.params import DenseCrf, DiffuMask
from tasks.refine import dense_crf

Size = tuple[int, int]


def normalise(maps: Tensor) -> Tensor:
    """Min-max per map, ``(N, K, h, w)`` to 0..1; a constant map becomes 0."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, torch.ones_like(high))


def enlarge(maps: Tensor, size: Size) -> Tensor:
    """Bilinear resizing of ``(N, K, h, w)`` to (H, W)."""
    if maps.shape[-2:] == size:
        return maps
    return functional.interpolate(maps, size=size, mode="bilinear")


def combine(maps: Sequence[Tensor]) -> Tensor:
    """The mean of one or more resolutions, largest first, at the size of the largest."""
    size = (maps[0].shape[-2], maps[0].shape[-1])
    return torch.stack([enlarge(each, size) for each in maps]).mean(0)


def with_background(maps: Sequence[Tensor], size: Size, beta: float) -> Tensor:
    """The stack of attn2mask and of averaged attention: A_0 = 1 - max_k A_k - beta.

    Args:
        maps: one or more resolutions of ``(N, K, h, w)`` attention, largest first.
        size: (H, W) of the image.
        beta: how much the background is held back; at 1 it never stands above a class.
    """
    scores = enlarge(normalise(combine(maps)), size)
    background = 1 - scores.amax(1, keepdim=True) - beta
    return torch.cat([background, scores], 1)


def spread_by_self_attention(
    maps: Sequence[Tensor], attention: Tensor, inner: Size, size: Size, power: int, threshold: float
) -> Tensor:
    """Dataset Diffusion's stack (arXiv 2309.14303): A_S^power A_C, min-max, a fixed threshold.

    Args:
        maps: ``(N, K, h, w)`` cross-attention A_C, largest first.
        attention: ``(N, n, n)`` self-attention A_S, rows sum to 1.
        inner: (h, w) of the self-attention's positions, h w = n.
        size: (H, W) of the image.
        power: how often A_S is applied; the paper takes 4.
        threshold: the background's score everywhere.
    """
    spread = enlarge(combine(maps), inner).flatten(2).transpose(1, 2)
    for _ in range(power):  # cheaper than the matrix's power
        spread = attention @ spread
    scores = enlarge(normalise(spread.transpose(1, 2).unflatten(-1, inner)), size)
    return torch.cat([torch.full_like(scores[:, :1], threshold), scores], 1)


def diffumask(
    maps: Sequence[Tensor], images: np.ndarray, size: Size, section: DiffuMask, crf: DenseCrf
) -> Tensor:
    """DiffuMask's stack (arXiv 2303.11681): a threshold of its own for each image and class.

    The resolutions are divided by their maxima and averaged. Of the thresholds from ``lowest`` to
    ``highest``, 0.01 apart, the one counts whose mask, refined by the dense CRF, overlaps most with
    a reference: |A and B| / (|A| + |B|). DiffuMask takes the reference from an affinity network
    that it trains for each class; here the mean map itself, refined by the same CRF, stands in its
    place. A class's score is its map minus its threshold, plus 0.5; the background's is 0.5.

    Args:
        maps: one or more resolutions of ``(N, K, h, w)`` attention, largest first.
        images: ``uint8 (N, H, W, 3)``.
        size: (H, W) of the image.
    """
    scaled = [each / each.amax((-2, -1), keepdim=True).clamp_min(1e-12) for each in maps]
    scores = enlarge(combine(scaled), size)
    thresholds = torch.arange(section.lowest, section.highest + 0.005, 0.01)
    shifted = torch.empty_like(scores)
    for k in range(scores.shape[1]):
        one = scores[:, k]
        reference = _foreground(images, one, 1 - one, crf)
        overlaps = []
        for threshold in thresholds:
            mask = _foreground(images, one, torch.full_like(one, threshold), crf)
            both = (mask & reference).sum((1, 2)) / (mask.sum((1, 2)) + reference.sum((1, 2)))
            overlaps.append(both.nan_to_num(0))
        best = thresholds[torch.stack(overlaps).argmax(0)]
        shifted[:, k] = one + 0.5 - best[:, None, None]
    return torch.cat([torch.full_like(shifted[:, :1], 0.5), shifted.clamp_min(0)], 1)


def _foreground(images: np.ndarray, scores: Tensor, rest: Tensor, crf: DenseCrf) -> Tensor:
    """``bool (N, H, W)``: where a map wins over the rest after the dense CRF."""
    refined = dense_crf(images, torch.stack([rest, scores], 1), **crf.model_dump())
    return refined[:, 1] > refined[:, 0]
