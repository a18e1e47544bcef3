"""Samples of toy size to make masks of, and the parameters of the methods."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tasks.captures import Captured
from tasks.masks import Mask, Sampled, extract
from tasks.params import ExtractMasks, Params

METHODS = ("attn2mask", "averaged", "self_attention", "diffumask")
VALUES = {"car": 1, "dog": 7}


@pytest.fixture
def section(make_params: Callable[..., Params]) -> Callable[..., ExtractMasks]:
    """The mask parameters with keys changed; `beta` 0.2, no refinement and a small filter."""

    def make(method: str = "attn2mask", **changes: Any) -> ExtractMasks:
        keys = {
            "method": method,
            "refine": "none",
            "attn2mask.beta": 0.2,
            "attn2mask.resolutions": None,
            "averaged.beta": 0.4,
            "averaged.resolutions": None,
            "diffumask.min_box": 0.0,
            "guided.radius": 3,
            "guided.epsilon": 1e-3,
            "guided.iterations": 1,
        } | {key.replace("__", "."): value for key, value in changes.items()}
        everything = {
            "sample_images.capture.steps": ["middle", "all"],
            "sample_images.capture.resolutions": None,
            "sample_images.capture.self_attention": {"resolution": 4, "step": "middle"},
        }
        return make_params(
            everything | {f"extract_masks.{key}": value for key, value in keys.items()}
        ).extract_masks

    return make


def sampled(
    maps: np.ndarray,
    names: list[str],
    image: np.ndarray | None = None,
    side: int = 8,
    attention: np.ndarray | None = None,
) -> Sampled:
    """A sample whose every step shows ``maps (phrases, 4, 4)``.

    Positions attend to themselves, unless ``attention (16, 16)`` says otherwise.
    """
    if image is None:
        image = np.zeros((side, side, 3), np.uint8)
    if attention is None:
        attention = np.eye(16)
    maps = maps.astype(np.float16)
    cross = {(step, (4, 4)): maps for step in ("middle", "all")}
    return Sampled(image, names, Captured(cross, {(4, 4): attention.astype(np.float16)}))


def noise(seed: int, side: int = 8) -> Sampled:
    """Two classes with random maps, image and self-attention."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, (side, side, 3), np.uint8)
    scores = np.exp(4 * rng.random((16, 16)))
    return sampled(
        rng.random((2, 4, 4)),
        ["car", "dog"],
        image,
        attention=scores / scores.sum(1, keepdims=True),
    )


def halves() -> np.ndarray:
    """The first phrase above, the second in the last column."""
    maps = np.zeros((2, 4, 4))
    maps[0, :2, :3], maps[1, :, 3] = 0.25, 0.5
    return maps


def one(batch: list[Sampled], section: ExtractMasks, values: dict[str, int] = VALUES) -> Mask:
    (mask,) = extract(batch, values, section)
    return mask
