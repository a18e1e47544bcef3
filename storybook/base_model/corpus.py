"""What the base model learns from: page images and their captions, no label."""

from collections.abc import Iterator

import numpy as np
import torch
from diffusers import AutoencoderTiny

from storybook import page

ENCODING_BATCH = 256


def page_scenes(count: int, seed: int) -> Iterator[page.Scene]:
    """``count`` scenes, each from a generator of its own, so that any range can be made alone."""
    for index in range(count):
        yield page.sample_scene(np.random.default_rng((seed, index)))


def page_images(count: int, seed: int) -> np.ndarray:
    """``uint8 (count, 64, 64, 3)``."""
    return np.stack([page.render(scene)[0] for scene in page_scenes(count, seed)])


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """``uint8 (N, H, W, 3)`` to ``float32 (N, 3, H, W)`` in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def encode_pages(model: AutoencoderTiny, count: int, seed: int) -> tuple[torch.Tensor, list[str]]:
    """Latents, scaled to unit variance, and captions of ``count`` pages.

    Returns:
        ``float16 (count, 4, 16, 16)`` and ``count`` captions.
    """
    latents, captions = [], []
    batch: list[np.ndarray] = []
    for index, scene in enumerate(page_scenes(count, seed)):
        captions.append(page.caption(scene))
        batch.append(page.render(scene)[0])
        if len(batch) == ENCODING_BATCH or index == count - 1:
            with torch.autocast("cpu", torch.bfloat16):
                encoded = model.encode(to_tensor(np.stack(batch))).latents
            latents.append((encoded.float() * model.config.scaling_factor).half())
            batch = []
    return torch.cat(latents), captions
