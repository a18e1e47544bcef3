"""What the base model learns from: page images and their captions, no label."""

from collections.abc import Iterator, Mapping
from itertools import chain, islice

import numpy as np
import torch
from diffusers import AutoencoderTiny

from storybook import page

ENCODING_BATCH = 256


def page_scenes(
    count: int, seed: int, more: Mapping[str, int] | None = None
) -> Iterator[page.Scene]:
    """``count`` scenes, then so many ``more`` whose first thing is of a kind.

    Each is from a generator of its own, so that any range can be made alone.
    """
    kinds = chain.from_iterable([kind] * extra for kind, extra in (more or {}).items())
    for index, kind in enumerate(chain([None] * count, kinds)):
        yield page.sample_scene(np.random.default_rng((seed, index)), kind)


def page_images(count: int, seed: int) -> np.ndarray:
    """``uint8 (count, 64, 64, 3)``."""
    return np.stack([page.render(scene)[0] for scene in page_scenes(count, seed)])


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """``uint8 (N, H, W, 3)`` to ``float32 (N, 3, H, W)`` in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def encode_pages(
    model: AutoencoderTiny, count: int, seed: int, more: Mapping[str, int] | None = None
) -> tuple[torch.Tensor, list[str]]:
    """Latents, scaled to unit variance, and captions of the pages of `page_scenes`.

    Returns:
        ``float16 (N, 4, 16, 16)`` and N captions.
    """
    latents, captions = [], []
    scenes = page_scenes(count, seed, more)
    while batch := list(islice(scenes, ENCODING_BATCH)):
        captions += [page.caption(scene) for scene in batch]
        images = np.stack([page.render(scene)[0] for scene in batch])
        with torch.autocast("cpu", torch.bfloat16):
            encoded = model.encode(to_tensor(images)).latents
        latents.append((encoded.float() * model.config.scaling_factor).half())
    return torch.cat(latents), captions
