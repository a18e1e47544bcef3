"""What the sampling benchmark samples: pipelines with prompts, phrases and seeds."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor

from tasks.attention import TokenColumns
from tasks.phrases import phrase_columns
from tasks.templates import fill, parse

STORYBOOK = Path(__file__).parents[1] / "models/storybook-sd"
PAIRS = [("car", "boat"), ("tree", "house"), ("bird", "fish"), ("dog", "flower")]
# But for the text's width, the defaults of UNet2DConditionModel are the shape of SD 1.5.
SD15_SHAPE: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768}
TINY_SHAPE: dict[str, Any] = {
    "block_out_channels": (16, 16, 32, 32),
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "norm_num_groups": 8,
}
TEXT_LENGTH = 77
FOUR_PHRASES = [[2], [5, 6], [9], [12, 13]]
"""Token columns of a prompt that names four classes, two of them in two tokens."""


@dataclass(frozen=True)
class Batch:
    """A pipeline and what it samples.

    Attributes:
        model: its name.
        inputs: arguments of the pipeline with one entry per image, lists or tensors.
        columns: per image, the token columns of its class phrases.
        size: pixels, of both sides.
    """

    model: str
    pipeline: StableDiffusionPipeline
    inputs: dict[str, Any]
    columns: TokenColumns
    seeds: range
    size: int
    steps: int
    guidance: float

    @property
    def title(self) -> str:
        """As the table names it."""
        dtype = str(self.pipeline.unet.dtype).removeprefix("torch.")
        pixels = f"{self.size}x{self.size}"
        return f"{self.model}, {pixels}, batch {len(self.seeds)}, steps {self.steps}, {dtype}"

    def part(self, images: slice) -> "Batch":
        """Some of the images."""
        inputs = {name: values[images] for name, values in self.inputs.items()}
        return replace(self, inputs=inputs, columns=self.columns[images], seeds=self.seeds[images])

    def sample(self) -> Tensor:
        """``(N, 3, size, size)``, 0..1."""
        images: Tensor = self.pipeline(
            **self.inputs,
            height=self.size,
            width=self.size,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in self.seeds],
            output_type="pt",
        ).images
        return images


def storybook_batch(device: str, images: int, steps: int) -> Batch:
    """The storybook model with prompts of two classes."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        STORYBOOK, dtype=torch.bfloat16, safety_checker=None, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    texts, columns = [], []
    for number in range(images):
        pair = PAIRS[number % len(PAIRS)]
        text, spans = fill(parse("a {} on grass"), pair)
        texts.append(text)
        columns.append(phrase_columns(pipeline.tokenizer, text, spans))
    return Batch(
        model="storybook",
        pipeline=pipeline.to(device),
        inputs={"prompt": texts},
        columns=columns,
        seeds=range(images),
        size=64,
        steps=steps,
        guidance=4.0,
    )


def random_batch(
    model: str, shape: dict[str, Any], device: str, images: int, size: int, steps: int
) -> Batch:
    """A UNet of the given shape with random weights, a toy autoencoder and random embeddings."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if device == "cpu" else torch.float16
    channels = (16, 16, 16, 16)
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderTiny(
            encoder_block_out_channels=channels, decoder_block_out_channels=channels
        ).to(dtype),
        text_encoder=None,
        tokenizer=None,
        unet=UNet2DConditionModel(**shape).to(dtype),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    embeddings = torch.randn(2, images, TEXT_LENGTH, shape["cross_attention_dim"])
    positive, negative = embeddings.to(device, dtype)
    return Batch(
        model=model,
        pipeline=pipeline.to(device),
        inputs={"prompt_embeds": positive, "negative_prompt_embeds": negative},
        columns=[FOUR_PHRASES] * images,
        seeds=range(images),
        size=size,
        steps=steps,
        guidance=7.5,
    )
