"""A LoRA training without caches, as diffusers' train_text_to_image_lora.py does a step.

Every step encodes its images by the autoencoder, drawing latents from the posterior, and its
captions by the text encoder. All frozen networks are in one number type, and attention is the
default of diffusers, PyTorch's fused one.

What is no matter of caching is as in `tasks.lora_trainer`: the adapter and its start, the fused
AdamW, the rates, the clipping, stratified timesteps. In the loop's favour its images are read and
its captions tokenised beforehand.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler
from torch import Tensor
from torch.nn import functional

from tasks.framing import fit
from tasks.lora_network import Adapter
from tasks.lora_trainer import MAX_GRADIENT_NORM, Job, learning_rate
from tasks.pipelines import read_pipeline
from tasks.reference_images import read_image


class PlainLoop:
    """A training in memory, on the CPU.

    Args:
        job: what to train from; its images have the aspect of its size.

    Attributes:
        pixels: ``(N, 3, H, W)`` in the recipe's number type, -1..1, in the order of the images.
        tokens: ``int64 (N, tokens)`` of their captions.
    """

    def __init__(self, job: Job) -> None:
        self.section = job.section
        dtype = getattr(torch, job.section.dtype)
        pipeline = read_pipeline(job.model, dtype, Path())
        self.unet, self.vae = pipeline.unet, pipeline.vae
        self.text_encoder = pipeline.text_encoder
        self.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
        self.vae.requires_grad_(False)
        self.text_encoder.requires_grad_(False)
        images = np.stack([fit(read_image(image.path), job.size) for image in job.images])
        self.pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(dtype) / 127.5 - 1
        self.tokens = pipeline.tokenizer(
            [image.caption for image in job.images],
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        ).input_ids
        self.adapter = Adapter(self.unet, job.section)
        self.weights = list(self.adapter.parameters.values())
        self.optimizer = torch.optim.AdamW(self.weights, job.section.learning_rate, fused=True)

    def step(self, step: int) -> Tensor:
        """Draw a batch, encode it and learn from it; returns the loss."""
        count, total = self.section.batch_size, len(self.scheduler.alphas_cumprod)
        generator = torch.Generator().manual_seed(step)
        latents, text = self.encode(torch.randperm(len(self.pixels), generator=generator)[:count])
        noise = torch.randn(latents.shape, generator=generator).to(latents.dtype)
        stratum = torch.randperm(count, generator=generator)
        timesteps = (stratum + torch.rand(count, generator=generator)) / count * total
        return self.learn(step, latents, noise, timesteps.long().clamp(max=total - 1), text)

    def encode(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Latents ``(B, C, h, w)`` and text embeddings ``(B, tokens, D)`` of some images."""
        encoded = self.vae.encode(self.pixels[rows])
        kl = isinstance(self.vae, AutoencoderKL)
        latents = encoded.latent_dist.sample() if kl else encoded.latents
        return latents * self.vae.config.scaling_factor, self.text_encoder(self.tokens[rows])[0]

    def learn(
        self, step: int, latents: Tensor, noise: Tensor, timesteps: Tensor, text: Tensor
    ) -> Tensor:
        """Denoise a batch and move the adapter by its gradient; returns the loss before."""
        target = noise
        if self.scheduler.config.prediction_type == "v_prediction":
            target = self.scheduler.get_velocity(latents, noise, timesteps)
        noised = self.scheduler.add_noise(latents, noise, timesteps)
        said = self.unet(noised.to(text.dtype), timesteps, encoder_hidden_states=text).sample
        loss = functional.mse_loss(said.float(), target.float())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, MAX_GRADIENT_NORM)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.section, step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()
