"""Trains the UNet and the word vectors by v-prediction; stops and resumes at any checkpoint."""

import logging
import math
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.training_utils import EMAModel
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextModel

log = logging.getLogger(__name__)

WARMUP_STEPS = 200
EMA_DECAY = 0.999
CHECKPOINT_SECONDS = 240.0


def add_noise(
    scheduler: DDIMScheduler, latents: Tensor, noise: Tensor, t: Tensor
) -> tuple[Tensor, Tensor]:
    """Noisy latents x_t = a x + s eps, and v = a eps - s x (Salimans and Ho 2022)."""
    return scheduler.add_noise(latents, noise, t), scheduler.get_velocity(latents, noise, t)


def stratified_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """``count`` time steps of 1,000, one from each of ``count`` equal slices, in random order."""
    spread = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    return (spread[torch.randperm(count, generator=generator)] * 1000).long()


def train_unet(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    scheduler: DDIMScheduler,
    latents: Tensor,
    tokens: Tensor,
    empty_tokens: Tensor,
    *,
    minutes: float,
    batch: int,
    rate: float,
    caption_dropout: float,
    seed: int,
    compiled: bool,
    checkpoint: Path,
) -> dict:
    """Train in place for ``minutes`` in all, counted over restarts; the rate decays to zero.

    Args:
        latents: ``float16 (N, 4, 16, 16)`` of unit variance.
        tokens: ``int64 (N, L)``; ``empty_tokens`` ``int64 (L,)`` is the empty prompt.
        compiled: run the UNet through ``torch.compile``, which needs a C++ compiler.
        checkpoint: where the state is kept every four minutes; an existing one is continued.

    Returns:
        The record: steps, images seen, minutes, loss curve. The models hold the averaged weights.
    """
    unet.train().to(memory_format=torch.channels_last)
    # At 16x16 latents the CPU's fused attention takes longer than plain products, backwards above
    # all.
    unet.set_attn_processor(AttnProcessor())
    forward = torch.compile(unet) if compiled else unet
    parameters = [*unet.parameters(), *text_encoder.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, rate, betas=(0.9, 0.99), weight_decay=1e-2, fused=True
    )
    average = EMAModel(parameters, decay=EMA_DECAY, use_ema_warmup=True, power=0.75, foreach=True)
    step, spent, curve = 0, 0.0, []
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        unet.load_state_dict(state["unet"])
        text_encoder.load_state_dict(state["text_encoder"])
        optimizer.load_state_dict(state["optimizer"])
        average.load_state_dict(state["average"])
        step, spent, curve = state["step"], state["spent"], state["curve"]
        log.info("continuing at step %d after %.1f minutes", step, spent)

    def save() -> None:
        partial = checkpoint.with_suffix(".partial")
        torch.save(
            {
                "unet": unet.state_dict(),
                "text_encoder": text_encoder.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average.state_dict(),
                "step": step,
                "spent": spent,
                "curve": curve,
            },
            partial,
        )
        partial.replace(checkpoint)

    losses: list[float] = []
    before = saved = time.monotonic()
    while spent < minutes:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        lr = (
            rate
            * min(1.0, (step + 1) / WARMUP_STEPS)
            * 0.5
            * (1 + math.cos(math.pi * spent / minutes))
        )
        for group in optimizer.param_groups:
            group["lr"] = lr
        chosen = torch.randint(len(latents), (batch,), generator=generator)
        clean = latents[chosen].float()
        noise = torch.randn(clean.shape, generator=generator)
        t = stratified_timesteps(batch, generator)
        noisy, target = add_noise(scheduler, clean, noise, t)
        words = tokens[chosen].clone()
        words[torch.rand(batch, generator=generator) < caption_dropout] = empty_tokens
        with torch.autocast("cpu", torch.bfloat16):
            states = text_encoder(words)[0]
            output = forward(
                noisy.contiguous(memory_format=torch.channels_last),
                t,
                encoder_hidden_states=states,
                return_dict=False,
            )[0]
        loss = functional.mse_loss(output.float(), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.step(parameters)
        losses.append(loss.item())
        step += 1
        now = time.monotonic()
        spent += (now - before) / 60
        before = now
        if step % 100 == 0:
            curve.append((step, float(np.mean(losses[-100:]))))
            log.info("step %d, loss %.4f, %.1f of %.1f minutes", *curve[-1], spent, minutes)
        if now - saved > CHECKPOINT_SECONDS:
            save()
            before = saved = time.monotonic()
    save()
    average.copy_to(parameters)
    unet.eval()
    return {
        "steps": step,
        "images": step * batch,
        "batch": batch,
        "rate": rate,
        "minutes": round(spent, 1),
        "corpus": len(latents),
        "loss_curve": curve,
    }
