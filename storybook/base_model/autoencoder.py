"""Trains the autoencoder: L1 on pixels and on their differences, with noise on the latents.

The noise makes the decoder robust to the small errors that a diffusion model leaves, and keeps the
latent space smooth. Colours are jittered so that later domains with other palettes fit too.
"""

import logging
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from torch.nn import functional

from storybook.base_model.corpus import page_images
from storybook.base_model.parts import build_autoencoder

log = logging.getLogger(__name__)

LATENT_NOISE = 0.1
"""Standard deviation of the noise on training latents, relative to their own."""


def recolour(images: Tensor, generator: torch.Generator) -> Tensor:
    """Scale, shift and permute the colours of half the images, ``(N, 3, H, W)`` 0..1."""
    count = len(images)
    permuted = images[:, torch.randperm(3, generator=generator)]
    gain = 0.4 + 0.8 * torch.rand(count, 3, 1, 1, generator=generator)
    shift = 0.3 * torch.rand(count, 3, 1, 1, generator=generator)
    varied = (permuted * gain + shift * (1 - gain)).clamp(0, 1)
    keep = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    return torch.where(keep, images, varied)


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of pixels plus that of horizontal and vertical differences (edges)."""
    loss = functional.l1_loss(output, target)
    for dim in (-1, -2):
        loss = loss + functional.l1_loss(output.diff(dim=dim), target.diff(dim=dim))
    return loss


def train_autoencoder(
    minutes: float, batch: int, rate: float, seed: int
) -> tuple[AutoencoderTiny, dict]:
    """Train for ``minutes``; the rate falls to zero over that time.

    Returns:
        The autoencoder, its ``scaling_factor`` set so that latents have unit variance, and its
        record: steps, losses, PSNR in dB on unseen pages.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = build_autoencoder().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.98), weight_decay=1e-4)
    pool = page_images(8192, seed=seed)
    start, step, losses = time.monotonic(), 0, []
    while (spent := (time.monotonic() - start) / 60 / minutes) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100) * (1 - spent)
        chosen = torch.randint(len(pool), (batch,), generator=generator)
        images = torch.from_numpy(pool[chosen.numpy()]).permute(0, 3, 1, 2).float() / 255
        images = recolour(images, generator).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            latents = model.encode(images * 2 - 1).latents
            scale = latents.detach().float().std()
            noise = torch.randn(latents.shape, generator=generator) * LATENT_NOISE * scale
            output = model.decode(latents + noise).sample
        loss = reconstruction_loss((output.float() + 1) / 2, images)
        loss = loss + 1e-3 * latents.float().square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        step += 1
        if step % 100 == 0:
            log.info(
                "autoencoder step %d, loss %.4f, %.0f %% of the time",
                step,
                np.mean(losses[-100:]),
                100 * spent,
            )
    model.eval()
    with torch.no_grad():
        unseen = torch.from_numpy(page_images(256, seed=seed + 1)).permute(0, 3, 1, 2).float() / 255
        latents = model.encode(unseen * 2 - 1).latents
        error = (((model.decode(latents).sample + 1) / 2).clamp(0, 1) - unseen).square().mean()
    model.register_to_config(scaling_factor=float(1 / latents.std()))
    record = {
        "steps": step,
        "batch": batch,
        "rate": rate,
        "minutes": minutes,
        "final_loss": float(np.mean(losses[-100:])),
        "psnr_db": float(-10 * torch.log10(error)),
    }
    log.info("autoencoder: %s", record)
    return model, record


def save_autoencoder(model: AutoencoderTiny, folder: Path) -> None:
    """Write the autoencoder as a diffusers folder in safetensors, half precision."""
    model.to(torch.float16).save_pretrained(folder, safe_serialization=True)
