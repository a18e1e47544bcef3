"""Ways to make masks of attention: methods with refinements, and how they are tried on samples."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from storybook.base_model.critic import mean_iou
from storybook.vocabulary import PAGE_CLASSES
from tasks.label_maps import IGNORE
from tasks.mask_methods import combine
from tasks.masks import Sampled, batches, class_maps, decide, score_stack
from tasks.params import ExtractMasks

Changes = dict[str, Any]
Recipe = tuple[str, str]
METHODS: dict[str, dict[str, list[Any]]] = {
    "attn2mask": {"resolutions": [[16], [16, 8]], "beta": [0.0, 0.1, 0.2, 0.3]},
    "averaged": {"resolutions": [[16], [16, 8]], "beta": [0.0, 0.1, 0.2]},
    "self_attention": {
        "resolutions": [[16], [8]],
        "power": [1, 4],
        "foreground": [0.4, 0.5, 0.6, 0.7, 0.8],
    },
    "diffumask": {"resolutions": [[16, 8], [16]], "highest": [0.54, 0.74, 0.94]},
}
REFINEMENTS: dict[str, dict[str, list[Any]]] = {
    "none": {},
    "guided": {"radius": [6, 10], "epsilon": [0.0001, 0.001], "iterations": [1, 3]},
    "crf": {"bilateral_xy": [10.0, 20.0], "bilateral_weight": [4.0, 10.0]},
}
BAND = 0.1
"""Dataset Diffusion's ignored band below its threshold (0.5 to 0.6)."""


def grid(choices: dict[str, list[Any]]) -> Iterator[Changes]:
    """All combinations."""
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def recipe(
    base: ExtractMasks, method: str, refine: str, of_method: Changes, of_refinement: Changes
) -> ExtractMasks:
    """The parameters with a method and a refinement, and some of theirs changed."""
    values = base.model_dump() | {"method": method, "refine": refine}
    values[method] |= of_method
    if method == "self_attention":
        values[method]["ignore"] = round(values[method]["foreground"] - BAND, 6)
    if refine != "none":
        values[refine] |= of_refinement
    return ExtractMasks.model_validate(values)


class Refinable:
    """Samples with the unrefined scores of one method, for trying refinements on."""

    def __init__(self, samples: list[Sampled], section: ExtractMasks) -> None:
        self.parts = []
        for positions in batches(samples, section.batch_size):
            batch = [samples[i] for i in positions]
            maps = class_maps(batch, section)
            self.parts.append((positions, batch, score_stack(batch, maps, section), maps))

    def labels(self, values: dict[str, int], section: ExtractMasks) -> np.ndarray:
        """``uint8 (N, H, W)`` in the samples' order."""
        found: dict[int, np.ndarray] = {}
        for positions, batch, stack, maps in self.parts:
            peaks = combine(maps).amax((-2, -1))
            masks = decide(batch, stack, peaks, values, section)
            found |= {i: mask.label for i, mask in zip(positions, masks, strict=True)}
        return np.stack([found[i] for i in range(len(found))])


def fill_ignored(labels: np.ndarray, seen: torch.Tensor, count: int) -> torch.Tensor:
    """Label maps where pixels without a label have the class after the judge's, so are wrong.

    Args:
        labels: ``uint8 (N, H, W)``.
        seen: the judge's, ``int64 (N, H, W)``.
        count: classes, background included.
    """
    wrong = (seen.numpy() + 1) % count
    return torch.from_numpy(np.where(labels == IGNORE, wrong, labels).astype(np.int64))


def quality(labels: np.ndarray, seen: torch.Tensor) -> tuple[float, float]:
    """Mean IoU with what the judge sees, and the share of pixels without a label."""
    count = len(PAGE_CLASSES) + 1
    filled = fill_ignored(labels, seen, count)
    return mean_iou(filled, seen, count), float((labels == IGNORE).mean())
