"""A LoRA training in memory: the network with its adapter, the data, the optimiser."""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from tasks.base_models import find_model, read_model
from tasks.diffusion import Diffusion, denoising_errors, mean_error
from tasks.encoding import Captioned, Example, encode_examples, encode_texts
from tasks.framing import Size
from tasks.label_maps import encode_image
from tasks.lora_batches import TrainingSet, split
from tasks.lora_network import Adapter
from tasks.params import AdaptLora, InputError
from tasks.pipelines import read_pipeline
from tasks.records import content_seed
from tasks.reference_captions import length_problems, prior_prompts
from tasks.sample_sheets import decode_latents, sample_latents, sheet

log = logging.getLogger(__name__)

MAX_GRADIENT_NORM = 1.0
EXPLICIT_POSITIONS = 1024
"""Latent positions up to which attention may be written out."""
SHEET_CAPTIONS, SHEET_SEEDS = 3, 4
"""Rows and columns of a sheet; the captions are those that most images have."""


@dataclass(frozen=True)
class Job:
    """What an adapter is trained from.

    Attributes:
        section: the recipe.
        model: the base model, as ``sample_images.model`` names it.
        base: its digest.
        size: of sampling, in pixels.
        images: with their captions, in the order of their names.
        words: of the classes, for the prompts of prior images.
    """

    section: AdaptLora
    model: str
    base: str
    size: Size
    images: tuple[Captioned, ...]
    words: tuple[str, ...]


def learning_rate(section: AdaptLora, step: int) -> float:
    """The rate of a step counted from 0: up a line while warming up, down a cosine over all."""
    warm = min(1.0, (step + 1) / max(1, section.warmup))
    return section.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / section.steps))


def writes_attention_out(dtype: str, device: str, positions: int) -> bool:
    """Whether to train by plain matrix products in place of PyTorch's fused attention.

    In bfloat16 on a CPU the fused one's backward pass is slow. From some size on the products need
    more memory than that is worth.

    Args:
        dtype: of the network.
        device: where it is trained.
        positions: of the latents.
    """
    return device == "cpu" and dtype == "bfloat16" and positions <= EXPLICIT_POSITIONS


class Trainer:
    """A training in memory: the network with its adapter, the data, the optimiser.

    Args:
        job: what to train from.
        device: where to.
        root: the repository root.

    Raises:
        InputError: the base model is missing or cannot be used, or a text is too long for it.
    """

    def __init__(self, job: Job, device: str, root: Path) -> None:
        section = job.section
        self.job, self.section, self.device = job, section, device
        dtype = getattr(torch, section.dtype)
        model = read_model(find_model(job.model, root))
        pipeline = read_pipeline(job.model, {"unet": dtype, "default": torch.float32}, root)
        self.pipeline, unet = pipeline, pipeline.unet
        self.diffusion = Diffusion.of(pipeline.scheduler.config, device)
        train, held_out = split(job.images, section.held_out(len(job.images)), section.seed)
        seen = Counter(image.caption for image in train)
        self.sheet_captions = [caption for caption, _ in seen.most_common(SHEET_CAPTIONS)]
        prompts = prior_prompts(section, job.words)
        captions = [image.caption for image in job.images]
        _refuse_long_texts(pipeline, model.text_length, captions, prompts)
        self.texts = encode_texts(pipeline, [*captions, *prompts], dtype, device)
        examples = encode_examples(
            pipeline.vae, [*train, *held_out], section, job.size, model.pixel_step, device
        )
        unet.to(device)
        positions = job.size[0] * job.size[1] // model.vae_factor**2
        if writes_attention_out(section.dtype, device, positions):
            unet.set_attn_processor(AttnProcessor())
        prior = []
        if prompts:
            log.info("sampling %d images of the classes, to keep them", len(prompts))
            prior = [
                Example(latents[None], prompt)
                for latents, prompt in zip(self._sample("prior", prompts), prompts, strict=True)
            ]
        self.data = TrainingSet(
            examples[: len(train)],
            prior,
            self.texts,
            section,
            self.diffusion.steps,
            model.vae_factor,
        )
        self.held_out = self.data.held_out(examples[len(train) :])
        self.adapter = Adapter(unet, section)
        if section.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        self.weights = list(self.adapter.parameters.values())
        self.optimizer = torch.optim.AdamW(self.weights, section.learning_rate, fused=True)

    def step(self, step: int) -> Tensor:
        """One step of the optimiser; returns its mean loss, which nobody has waited for."""
        section = self.section
        total = torch.zeros((), device=self.device)
        for drawn in self.data.draw(step):
            batch = drawn.to(self.device)
            errors = denoising_errors(self.pipeline.unet, self.diffusion, batch)
            if section.snr_gamma is not None:
                weights = self.diffusion.min_snr_weights(batch.timesteps, section.snr_gamma)
                errors = errors * weights
            loss = errors.sum() / section.rows
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(self.weights, MAX_GRADIENT_NORM)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(section, step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total

    def held_out_loss(self) -> float:
        """The denoising loss of the images that are not trained on, as the adapter is now."""
        return mean_error(self.pipeline.unet, self.diffusion, self.held_out, self.device)

    def draw_sheet(self, path: Path) -> None:
        """Write a sheet of samples: a caption a row, a seed a column."""
        captions = [caption for caption in self.sheet_captions for _ in range(SHEET_SEEDS)]
        images = decode_latents(self.pipeline.vae, self._sample("sheet", captions), self.device)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(sheet(images, SHEET_SEEDS)))

    def _sample(self, what: str, captions: Sequence[str]) -> Tensor:
        """Samples of these captions as latents, each with its own noise."""
        seeds = [content_seed(what, self.section.seed, number) for number in range(len(captions))]
        return sample_latents(
            self.pipeline,
            self.texts,
            captions,
            seeds,
            self.job.size,
            self.section.batch_size,
            self.device,
        )


def _refuse_long_texts(
    pipeline: DiffusionPipeline, longest: int, captions: Sequence[str], prompts: Sequence[str]
) -> None:
    parts = ("tokenizer", "tokenizer_2")
    tokenizers = [getattr(pipeline, part) for part in parts if hasattr(pipeline, part)]
    longest = min(longest, *(tokenizer.model_max_length for tokenizer in tokenizers))
    problems = [
        *length_problems("adapt_lora.captions", captions, tokenizers, longest),
        *length_problems("adapt_lora.prior_template", prompts, tokenizers, longest),
    ]
    if problems:
        raise InputError("\n".join(problems))
