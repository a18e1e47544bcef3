"""Samples of a model while it is trained: sheets to look at, and images to remember it by.

They have settings of their own, not those of ``sample_images``, so that sampling can be changed
without a training anew.
"""

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from tasks.encoding import Autoencoder, Texts
from tasks.framing import Size
from tasks.records import batched

STEPS = 20
GUIDANCE = 4.0


def sample_latents(
    pipeline: DiffusionPipeline,
    texts: Texts,
    captions: Sequence[str],
    seeds: Sequence[int],
    size: Size,
    batch_size: int,
    device: str,
) -> Tensor:
    """Sample one image for each caption and seed, guided away from the empty caption.

    Args:
        pipeline: its UNet is on the device; its autoencoder comes there and goes back.
        texts: encodes the captions; the pipeline needs no text encoder.
        captions, seeds: one of each for an image.
        size: of the images, in pixels.
        batch_size: images at a time.
        device: where to sample.

    Returns:
        ``float32 (N, C, h, w)``, on the CPU, scaled as the UNet sees them.
    """
    pipeline.vae.to(device)  # the pipeline computes where its first part lies
    found = []
    for part in batched(zip(captions, seeds, strict=True), batch_size):
        text, pooled = texts.pick([caption for caption, _ in part])
        empty, empty_pooled = texts.pick([""] * len(part))
        given = {"prompt_embeds": text, "negative_prompt_embeds": empty}
        if pooled is not None and empty_pooled is not None:
            given["pooled_prompt_embeds"] = pooled
            given["negative_pooled_prompt_embeds"] = empty_pooled
        latents = pipeline(
            **{name: value.to(device) for name, value in given.items()},
            height=size[0],
            width=size[1],
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=[torch.Generator("cpu").manual_seed(seed) for _, seed in part],
            output_type="latent",
        ).images
        found.append(latents.float().cpu())
    pipeline.vae.to("cpu")
    return torch.cat(found)


@torch.no_grad()
def decode_latents(vae: Autoencoder, latents: Tensor, device: str) -> np.ndarray:
    """The images of latents ``float32 (N, C, h, w)``: ``uint8 (N, H, W, 3)``."""
    vae.to(device)
    found = []
    for one in latents:
        scaled = one[None].to(device, vae.dtype) / vae.config.scaling_factor
        pixels = (vae.decode(scaled).sample[0].float() + 1) * 127.5
        found.append(pixels.clamp(0, 255).round().byte().permute(1, 2, 0).cpu().numpy())
    vae.to("cpu")
    return np.stack(found)


def sheet(images: np.ndarray, columns: int) -> np.ndarray:
    """Images ``uint8 (N, H, W, 3)`` side by side, row after row: ``uint8 (H', W', 3)``."""
    count, height, width, channels = images.shape
    rows = images.reshape(count // columns, columns, height, width, channels)
    return rows.swapaxes(1, 2).reshape(-1, columns * width, channels)
