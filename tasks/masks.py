"""Masks: label maps and per-pixel reliability, from images and the attention of their phrases.

A method (`tasks.mask_methods`) makes class scores, the image refines them (`tasks.refine`), the
best class is the label, and the rank of its lead is the reliability. The channel before the classes
is the background, or, where every pixel belongs to a class, what none is sure of: no label.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from tasks import mask_methods
from tasks.captures import Captured, merge_phrases
from tasks.label_maps import BACKGROUND, encode_grey, encode_label, ignore_value, label_dtype
from tasks.params import ExtractMasks
from tasks.refine import dense_crf, guided_filter
from tasks.uncertainty import label_variance, normalised_entropy

RELIABILITY_MAX = 255
GUIDED_PIXELS = 2**19
"""Pixels refined at a time: the guided filter takes up to a kilobyte for each."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Sampled:
    """What a mask is made from.

    Attributes:
        image: ``uint8 (H, W, 3)``.
        names: the class of each phrase.
        captured: the phrases' attention.
    """

    image: np.ndarray
    names: list[str]
    captured: Captured

    @property
    def classes(self) -> list[str]:
        """The classes, each once."""
        return list(dict.fromkeys(self.names))

    def shapes(self) -> tuple[Any, ...]:
        """What has to be equal within a batch."""
        return (self.image.shape, len(self.classes), *sorted(self.captured.cross))


@dataclass(frozen=True)
class Mask:
    """A sample's label map ``(H, W)``, reliability ``uint8 (H, W)``, and each class's scores.

    ``entropy`` is the mean over the image of `tasks.uncertainty.normalised_entropy`. Where response
    scalings are asked for, ``uncertainty`` is ``uint8 (H, W)``, 0..255 meaning 0..1.
    """

    label: np.ndarray
    reliability: np.ndarray
    entropy: float
    classes: list[Row]
    uncertainty: np.ndarray | None = None

    def files(self) -> dict[str, bytes]:
        """Its maps as PNG, by the name of their columns in the index."""
        files = {"label": encode_label(self.label), "reliability": encode_grey(self.reliability)}
        if self.uncertainty is not None:
            files["uncertainty"] = encode_grey(self.uncertainty)
        return files


def label_and_margin(stack: Tensor) -> tuple[Tensor, Tensor]:
    """Best channel ``int64 (N, H, W)`` and its lead over the second best ``float (N, H, W)``."""
    best = stack.topk(2, dim=1)
    return best.indices[:, 0], best.values[:, 0] - best.values[:, 1]


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two ``bool (H, W)``; 0 where both are empty."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 0.0


def margin_rank(label: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Rank of each pixel's margin among the pixels of its predicted class, 0..255.

    A rank, not a threshold: the training chooses its own quantile. Equal margins get equal ranks,
    a class of one pixel gets the middle.

    Args:
        label: ``(H, W)`` predicted channel.
        margin: ``float (H, W)``.

    Returns:
        ``uint8 (H, W)``, 255 = the most reliable pixel of its class in this image.
    """
    rank = np.zeros(label.shape, np.uint8)
    for value in np.unique(label):
        inside = label == value
        _, position, counts = np.unique(margin[inside], return_inverse=True, return_counts=True)
        below = np.cumsum(counts) - counts
        middle = (below + (counts - 1) / 2) / max(1, counts.sum() - 1)
        if counts.sum() == 1:
            middle[:] = 0.5
        rank[inside] = np.rint(middle[position] * RELIABILITY_MAX)
    return rank


def drop_small(channel: np.ndarray, min_box: float) -> np.ndarray:
    """Where components of a class lie whose box covers less than ``min_box`` of the image.

    Args:
        channel: ``(H, W)`` predicted channel, 0 is no class.

    Returns:
        ``bool (H, W)``. Neighbours count along edges and corners.
    """
    small = np.zeros(channel.shape, bool)
    for k in np.unique(channel[channel > 0]):
        _, components, stats, _ = cv2.connectedComponentsWithStats((channel == k).astype(np.uint8))
        boxes = stats[:, cv2.CC_STAT_WIDTH] * stats[:, cv2.CC_STAT_HEIGHT]
        dropped = boxes < min_box * channel.size
        dropped[0] = False  # everything that is not the class
        small |= dropped[components]
    return small


def class_maps(batch: Sequence[Sampled], section: ExtractMasks) -> list[Tensor]:
    """The attention that the method reads: ``float32 (N, K, h, w)`` per resolution."""
    per_sample = [
        [
            merge_phrases(each.astype(np.float32), one.names)
            for each in one.captured.maps(section.step, section.resolutions)
        ]
        for one in batch
    ]
    return [torch.from_numpy(np.stack(each)) for each in zip(*per_sample, strict=True)]


def score_stack(batch: Sequence[Sampled], maps: Sequence[Tensor], section: ExtractMasks) -> Tensor:
    """Class scores by the chosen method: ``float32 (N, 1 + K, H, W)``, background first."""
    size = (batch[0].image.shape[0], batch[0].image.shape[1])
    if section.method == "self_attention":
        inner = batch[0].captured.self_attention_size()
        attention = np.stack([one.captured.self_attention[inner] for one in batch])
        chosen = section.self_attention
        return mask_methods.spread_by_self_attention(
            maps,
            torch.from_numpy(attention).float(),
            inner,
            size,
            chosen.power,
            chosen.foreground,
        )
    if section.method == "diffumask":
        return mask_methods.diffumask(maps, _images(batch), size, section.diffumask, section.crf)
    return mask_methods.with_background(maps, size, getattr(section, section.method).beta)


def refine(batch: Sequence[Sampled], stack: Tensor, section: ExtractMasks) -> Tensor:
    """Fit the scores ``(N, 1 + K, H, W)`` to the images, in the way that is asked for."""
    if section.refine == "none":
        return stack
    images = _images(batch)
    if section.refine == "crf":
        return dense_crf(images, stack, **section.crf.model_dump())
    guide = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    count = max(1, GUIDED_PIXELS // (stack.shape[2] * stack.shape[3]))
    parts = zip(guide.split(count), stack.split(count), strict=True)
    return torch.cat([guided_filter(*part, **section.guided.model_dump()) for part in parts])


def extract(batch: Sequence[Sampled], values: dict[str, int], section: ExtractMasks) -> list[Mask]:
    """Label maps, reliability and scores of samples of equal shapes.

    Args:
        values: class name -> label value.
    """
    maps = class_maps(batch, section)
    peaks = mask_methods.combine(maps).amax((-2, -1))
    return decide(batch, score_stack(batch, maps, section), peaks, values, section)


def decide(
    batch: Sequence[Sampled],
    stack: Tensor,
    peaks: Tensor,
    values: dict[str, int],
    section: ExtractMasks,
) -> list[Mask]:
    """Refine the scores, take the best class of every pixel, and rank its lead.

    Args:
        stack: scores ``(N, 1 + K, H, W)``, background first.
        peaks: the raw maps' maxima ``(N, K)``, attention probabilities.
        values: class name -> label value. Where one of them is 0 there is no background: pixels
            that no class wins are ignored, and have reliability 0.
    """
    best = stack[:, 1:].amax(1).numpy()
    refined = refine(batch, stack, section)
    raw = stack.argmax(1).numpy()
    channels, margins = (t.numpy() for t in label_and_margin(refined))
    entropies = normalised_entropy(refined).numpy()
    uncertainty = None
    if section.response_scalings:
        varies = label_variance(refined, section.response_scalings)
        uncertainty = (varies * RELIABILITY_MAX).round().to(torch.uint8).numpy()
    if section.all_claimed:  # the first channel can still win a tie, or by the filter's overshoot
        raw, channels = (1 + each[:, 1:].argmax(1).numpy() for each in (stack, refined))
    dtype = label_dtype(max(values.values()) + 1)
    ignore = ignore_value(dtype)
    rest = ignore if BACKGROUND in values.values() else BACKGROUND
    masks = []
    for i, one in enumerate(batch):
        channel, margin = channels[i], margins[i]
        if section.method == "diffumask":
            small = drop_small(channel, section.diffumask.min_box)
            channel, margin = np.where(small, 0, channel), np.where(small, 0, margin)
        label = np.array([rest, *(values[name] for name in one.classes)], dtype)[channel]
        reliability = margin_rank(channel, margin)
        if section.method == "self_attention":
            # The band is of the method's own scores; what refinement made foreground stays so.
            unsure = (channel == 0) & (best[i] >= section.self_attention.ignore)
            unsure &= best[i] < section.self_attention.foreground
            label[unsure] = ignore
        reliability[label == ignore] = 0
        scores = []
        for k, name in enumerate(one.classes, start=1):
            inside = channel == k
            scores.append(
                {
                    "name": name,
                    "area": float(inside.mean()),
                    "peak": float(peaks[i, k - 1]),
                    "margin": _mean(margin, inside),
                    "entropy": _mean(entropies[i], inside),
                    "agreement": overlap(raw[i] == k, inside),
                }
            )
        varying = None if uncertainty is None else uncertainty[i]
        masks.append(Mask(label, reliability, float(entropies[i].mean()), scores, varying))
    return masks


def _images(batch: Sequence[Sampled]) -> np.ndarray:
    return np.stack([one.image for one in batch])


def _mean(values: np.ndarray, inside: np.ndarray) -> float:
    """The mean of ``values`` where ``inside``; 0 where that is nowhere."""
    return float(values[inside].mean()) if inside.any() else 0.0


def batches(samples: Sequence[Sampled], size: int) -> Iterator[list[int]]:
    """Positions of at most ``size`` samples of equal shapes, until all have come."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for position, one in enumerate(samples):
        groups.setdefault(one.shapes(), []).append(position)
    for group in groups.values():
        for first in range(0, len(group), size):
            yield group[first : first + size]
