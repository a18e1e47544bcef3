"""Fitting coarse score maps to an image's edges: a guided filter, and a dense CRF to compare."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tasks.params import InputError

LEAST_PROBABILITY = 1e-5
"""Of a class that a score map excludes: keeps the CRF's unary energies finite."""


def box_mean(x: Tensor, radius: int) -> Tensor:
    """Mean over windows of side ``2 radius + 1``, ``(N, C, H, W)``; they shrink at the border.

    Differences of running sums, so that the radius costs next to nothing.
    """
    return _mean_along(_mean_along(x, radius, 2), radius, 3)


def _mean_along(x: Tensor, radius: int, dim: int) -> Tensor:
    length, side = x.shape[dim], 2 * radius + 1
    margins = (radius + 1, radius)
    sums = functional.pad(x, (0, 0, *margins) if dim == 2 else margins).cumsum(dim)
    totals = sums.narrow(dim, side, length) - sums.narrow(dim, 0, length)
    at = torch.arange(length, device=x.device)
    counts = (at + radius).clamp(max=length - 1) - (at - radius).clamp(min=0) + 1
    return totals / (counts[:, None] if dim == 2 else counts)


def guided_filter(
    guide: Tensor,
    scores: Tensor,
    radius: int,
    epsilon: float,
    subsample: int = 1,
    iterations: int = 1,
    sharpness: float = 12.0,
) -> Tensor:
    """The guided filter with a colour guide (He, Sun, Tang, TPAMI 2013, section 3.4).

    In every window the output is an affine function of the guide, a^T I + b, the one that is
    closest to ``scores`` with a penalty ``epsilon`` on a: eq. 14 to 16 there. With ``subsample``
    it is the fast guided filter (He, Sun, arXiv 1505.00996, algorithm 2): a and b are found on a
    smaller image, enlarged, and applied to the full guide. With several ``iterations`` the scores
    become soft labels, softmax(sharpness * scores), from one pass to the next, as between the
    steps of a mean field; the passes before the last stay on the smaller image.

    Args:
        guide: ``(N, 3, H, W)``, 0..1.
        scores: ``(N, C, H, W)``, about 0..1.
        radius: of the windows, in pixels of the full image.
        epsilon: regularisation; smaller keeps weaker edges.
        subsample: how many times smaller the image is on which a and b are found; 1: exact.
        iterations: passes of the filter.
        sharpness: of the soft labels between passes; without effect in a single pass.

    Returns:
        ``(N, C, H, W)``, the type of ``scores``.
    """
    height, width = guide.shape[2:]
    small = (max(1, round(height / subsample)), max(1, round(width / subsample)))
    # Covariances are small differences of large numbers: float32 would need epsilon above 1e-6.
    small_guide = functional.interpolate(guide, size=small, mode="area").double()
    soft = functional.interpolate(scores, size=small, mode="area").double()
    radius = max(1, round(radius / subsample))
    mean_guide = box_mean(small_guide, radius)
    factors = _factorise(_covariance(small_guide, mean_guide, radius), epsilon)

    def fit(soft: Tensor) -> tuple[list[Tensor], Tensor]:
        mean_soft = box_mean(soft, radius)
        mixed = [
            box_mean(channel * soft, radius) - mean * mean_soft
            for channel, mean in zip(small_guide.split(1, 1), mean_guide.split(1, 1), strict=True)
        ]
        slope = _solve(factors, mixed)
        offset = mean_soft - _affine(slope, torch.zeros_like(mean_soft), mean_guide)
        return [box_mean(a, radius) for a in slope], box_mean(offset, radius)

    slope, offset = fit(soft)
    for _ in range(iterations - 1):
        slope, offset = fit(torch.softmax(sharpness * _affine(slope, offset, small_guide), 1))
    return _affine([a.to(scores.dtype) for a in slope], offset.to(scores.dtype), guide)


def _affine(slope: list[Tensor], offset: Tensor, guide: Tensor) -> Tensor:
    """a^T I + b on the guide's grid: a three times and b ``(N, C, h, w)``, enlarged if smaller."""

    def enlarge(x: Tensor) -> Tensor:
        if x.shape[2:] == guide.shape[2:]:
            return x
        return functional.interpolate(x, size=guide.shape[2:], mode="bilinear")

    result = enlarge(offset)
    for k, a in enumerate(slope):
        result = torch.addcmul(result, enlarge(a), guide[:, k, None])
    return result


def _covariance(guide: Tensor, mean: Tensor, radius: int) -> dict[tuple[int, int], Tensor]:
    """Of the colours in each window: entries (j, k), j <= k, each ``(N, 1, H, W)``."""
    pairs = [(j, k) for j in range(3) for k in range(j, 3)]
    first, second = [j for j, _ in pairs], [k for _, k in pairs]
    products = box_mean(guide[:, first] * guide[:, second], radius)
    entries = products - mean[:, first] * mean[:, second]
    return {pair: entries[:, i, None] for i, pair in enumerate(pairs)}


class _Factors(NamedTuple):
    """L and D of a symmetric 3x3 matrix L D L^T per pixel, each entry ``(N, 1, H, W)``."""

    l10: Tensor
    l20: Tensor
    l21: Tensor
    d0: Tensor
    d1: Tensor
    d2: Tensor


def _factorise(covariance: dict[tuple[int, int], Tensor], epsilon: float) -> _Factors:
    """L D L^T of covariance + epsilon * 1.

    No entry of D is below epsilon in exact arithmetic; the clamp keeps rounding from making it so.
    """
    v = covariance
    d0 = (v[0, 0] + epsilon).clamp(min=epsilon)
    l10, l20 = v[0, 1] / d0, v[0, 2] / d0
    d1 = (v[1, 1] + epsilon - l10 * v[0, 1]).clamp(min=epsilon)
    rest = v[1, 2] - l20 * v[0, 1]
    l21 = rest / d1
    d2 = (v[2, 2] + epsilon - l20 * v[0, 2] - l21 * rest).clamp(min=epsilon)
    return _Factors(l10, l20, l21, d0, d1, d2)


def _solve(f: _Factors, right: list[Tensor]) -> list[Tensor]:
    """The three components of a: L D L^T a = ``right``, by substitution, per pixel."""
    y0 = right[0]
    y1 = right[1] - f.l10 * y0
    y2 = right[2] - f.l20 * y0 - f.l21 * y1
    a2 = y2 / f.d2
    a1 = y1 / f.d1 - f.l21 * a2
    a0 = y0 / f.d0 - f.l10 * a1 - f.l20 * a2
    return [a0, a1, a2]


def dense_crf(
    images: np.ndarray,
    scores: Tensor,
    *,
    iterations: int,
    bilateral_weight: float,
    bilateral_xy: float,
    bilateral_rgb: float,
    gaussian_weight: float,
    gaussian_xy: float,
) -> Tensor:
    """Mean field of the fully connected CRF (Krähenbühl, Koltun, NIPS 2011, eq. 3, algorithm 1).

    The unary energy is -log of the scores, scaled to a sum of 1 in every pixel.

    Args:
        images: ``uint8 (N, H, W, 3)``.
        scores: ``(N, C, H, W)``; what lies below 1e-5 counts as 1e-5.
        iterations: steps of the mean field.
        bilateral_weight: w1, of the kernel that compares places and colours.
        bilateral_xy: theta_alpha, its width in pixels.
        bilateral_rgb: theta_beta, its width in colour values, 0..255.
        gaussian_weight: w2, of the kernel that compares places alone.
        gaussian_xy: theta_gamma, its width in pixels.

    Returns:
        Posterior probabilities ``float32 (N, C, H, W)``, on the device of ``scores``.

    Raises:
        InputError: pydensecrf is not installed.
    """
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError as error:
        raise InputError(
            "the dense CRF needs the package pydensecrf2, which is not installed: run `make crf`, "
            "which builds it with a C++ compiler"
        ) from error
    channels, height, width = scores.shape[1:]
    probabilities = scores.float().cpu().clamp(min=LEAST_PROBABILITY)
    energies = -(probabilities / probabilities.sum(1, keepdim=True)).log()
    posteriors = []
    for image, energy in zip(images, energies.flatten(2).numpy(), strict=True):
        crf = DenseCRF2D(width, height, channels)
        crf.setUnaryEnergy(np.ascontiguousarray(energy))
        crf.addPairwiseGaussian(sxy=gaussian_xy, compat=gaussian_weight)
        crf.addPairwiseBilateral(
            sxy=bilateral_xy,
            srgb=bilateral_rgb,
            rgbim=np.ascontiguousarray(image),
            compat=bilateral_weight,
        )
        posterior = np.asarray(crf.inference(iterations), np.float32)
        posteriors.append(torch.from_numpy(posterior.reshape(channels, height, width)))
    return torch.stack(posteriors).to(scores.device)
