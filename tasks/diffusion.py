"""The denoising objective: how latents are noised, what the network predicts, and the loss.

Everything here is float32 but the network's own arithmetic.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from tasks.params import InputError

PREDICTIONS = ("epsilon", "v_prediction")


@dataclass(frozen=True)
class Batch:
    """Latents of one size with the noise, the times and the texts that they are denoised with.

    Attributes:
        latents: ``float32 (B, C, h, w)``, scaled as the network sees them.
        noise: the same shape.
        timesteps: ``int64 (B,)``.
        text: ``(B, tokens, D)`` of the text encoder, in the network's dtype.
        pooled: ``(B, P)``, only where the network is also given the text as a whole (SDXL).
        time_ids: ``(B, 6)``: sizes and crop as SDXL is told them.
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    text: Tensor
    pooled: Tensor | None = None
    time_ids: Tensor | None = None

    def __len__(self) -> int:
        return len(self.latents)

    def part(self, rows: slice) -> "Batch":
        """Some of the rows."""
        return replace(self, **{name: value[rows] for name, value in self._tensors().items()})

    def to(self, device: str) -> "Batch":
        """On another device; copies to a GPU go by pinned memory, so that none is waited for."""
        if device == "cpu":
            return self
        moved = {
            name: value.pin_memory().to(device, non_blocking=True)
            for name, value in self._tensors().items()
        }
        return replace(self, **moved)

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Diffusion:
    """The forward process of a model and what its network predicts.

    Attributes:
        signal: ``float32 (T,)``, sqrt(alpha_bar_t) (Ho et al. 2020, eq. 4).
        sigma: ``float32 (T,)``, sqrt(1 - alpha_bar_t).
        prediction: "epsilon", the noise, or "v_prediction", v = signal * noise - sigma * x
            (Salimans and Ho 2022, appendix D).
    """

    signal: Tensor
    sigma: Tensor
    prediction: str

    @classmethod
    def of(cls, config: Any, device: str = "cpu") -> "Diffusion":
        """From the configuration of a pipeline's scheduler, whichever samples with it.

        Raises:
            InputError: the network predicts something else.
        """
        scheduler = DDPMScheduler.from_config(config)
        prediction = scheduler.config.prediction_type
        if prediction not in PREDICTIONS:
            raise InputError(
                f"sample_images.model: its network predicts {prediction!r}; adapt_lora trains "
                f"networks of {' and '.join(PREDICTIONS)}"
            )
        kept = scheduler.alphas_cumprod.float().to(device)
        return cls(kept.sqrt(), (1 - kept).sqrt(), prediction)

    @property
    def steps(self) -> int:
        """The number of timesteps, T."""
        return len(self.signal)

    def noised(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The noised latents and what the network should say of them: ``float32 (B, C, h, w)``."""
        signal = self.signal[batch.timesteps, None, None, None]
        sigma = self.sigma[batch.timesteps, None, None, None]
        noised = signal * batch.latents + sigma * batch.noise
        if self.prediction == "epsilon":
            return noised, batch.noise
        return noised, signal * batch.noise - sigma * batch.latents

    def min_snr_weights(self, timesteps: Tensor, gamma: float) -> Tensor:
        """Weights of the squared error: ``float32 (B,)`` (Hang et al. 2023, section 3.4).

        min(SNR, gamma) / SNR for epsilon, min(SNR, gamma) / (SNR + 1) for v, with
        SNR = (signal / sigma)^2. Where nothing but noise is left, SNR is 0 and the weights are 1
        and 0.
        """
        snr = (self.signal[timesteps] / self.sigma[timesteps]) ** 2
        if self.prediction == "epsilon":
            return (gamma / snr).clamp(max=1)
        return snr.clamp(max=gamma) / (snr + 1)


def denoising_errors(unet: nn.Module, diffusion: Diffusion, batch: Batch) -> Tensor:
    """The mean squared error of the network's prediction, row by row: ``float32 (B,)``."""
    noised, target = diffusion.noised(batch)
    added = None
    if batch.pooled is not None:
        added = {"text_embeds": batch.pooled, "time_ids": batch.time_ids}
    said: Tensor = unet(
        noised.to(batch.text.dtype),
        batch.timesteps,
        encoder_hidden_states=batch.text,
        added_cond_kwargs=added,
    ).sample
    return (said.float() - target).square().mean(dim=(1, 2, 3))


@torch.no_grad()
def mean_error(unet: nn.Module, diffusion: Diffusion, batches: list[Batch], device: str) -> float:
    """The denoising loss over fixed batches, each row weighing the same."""
    errors = [denoising_errors(unet, diffusion, batch.to(device)) for batch in batches]
    return float(torch.cat(errors).mean())
