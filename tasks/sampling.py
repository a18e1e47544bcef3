"""One batch of prompts through a diffusion pipeline, the class phrases' attention read on the way.

Each sample's noise comes from a generator of its own, on the CPU, so it is the same whatever the
batch, the order or the device. Pixels of another batch size differ by rounding only: by a grey
level in float32, by more in the half types, whose errors grow over the steps.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline

from tasks.attention import to_host, trace_cross_attention, trace_self_attention
from tasks.captures import Captured
from tasks.params import InputError, SampleImages
from tasks.phrases import phrase_columns

Row = dict[str, Any]


def token_columns(pipeline: DiffusionPipeline, row: Row) -> list[list[int]]:
    """Token positions of the row's class phrases, the same in all of the pipeline's tokenizers.

    Raises:
        InputError: a phrase is cut off, or the tokenizers disagree on where it stands.
    """
    spans = [(c["start"], c["end"]) for c in row["classes"]]
    columns = phrase_columns(pipeline.tokenizer, row["text"], spans)
    second = getattr(pipeline, "tokenizer_2", None)
    if second is not None and phrase_columns(second, row["text"], spans) != columns:
        raise InputError(
            f"sample_images.model: its two tokenizers split prompt {row['prompt_id']} "
            f"({row['text']!r}) differently, so no column of attention is the phrase's"
        )
    return columns


def unet_calls(pipeline: DiffusionPipeline, num_inference_steps: int) -> int:
    """How often the UNet is called: more often than there are steps by second-order schedulers."""
    pipeline.scheduler.set_timesteps(num_inference_steps)
    return len(pipeline.scheduler.timesteps)


def step_indices(step: int | str, calls: int) -> list[int]:
    """The calls of the UNet that an entry of ``capture.steps`` names."""
    if step == "all":
        return list(range(calls))
    return [calls // 2 if step == "middle" else int(step)]


def sample_batch(
    pipeline: DiffusionPipeline, section: SampleImages, rows: Sequence[Row]
) -> tuple[np.ndarray, list[Captured]]:
    """Sample one batch and read its attention.

    Returns:
        images ``uint8 (N, H, W, 3)`` and, per sample, what ``section.capture`` keeps.
    """
    columns = [token_columns(pipeline, row) for row in rows]
    generators = [torch.Generator("cpu").manual_seed(row["seed"]) for row in rows]
    capture = section.capture
    calls = unet_calls(pipeline, section.num_inference_steps)
    with ExitStack() as traces:
        cross = {
            str(step): traces.enter_context(
                trace_cross_attention(
                    pipeline.unet,
                    columns,
                    step_indices(step, calls),
                    resolutions=capture.resolutions,
                )
            )
            for step in capture.steps
        }
        inner = None
        if capture.self_attention is not None:
            (step,) = step_indices(capture.self_attention.step, calls)
            inner = traces.enter_context(
                trace_self_attention(
                    pipeline.unet, len(rows), step, capture.self_attention.resolution
                )
            )
        negative = [row["negative_prompt"] for row in rows]
        images = pipeline(
            [row["text"] for row in rows],
            # XL was trained with zeros for no prompt, and takes them only where none is given.
            negative_prompt=negative if any(negative) else None,
            height=section.height,
            width=section.width,
            num_inference_steps=section.num_inference_steps,
            guidance_scale=section.guidance_scale,
            generator=generators,
            output_type="np",
        ).images
    maps = {
        (name, size): value for name, trace in cross.items() for size, value in trace.maps().items()
    }
    if inner is not None:
        size, matrix = inner.matrix()
        maps["self", size] = matrix
    kept = to_host(maps)
    return (
        (images * 255).round().astype(np.uint8),
        [
            Captured(
                {at: kept[at][i, : len(row["classes"])] for at in kept if at[0] != "self"},
                {at[1]: kept[at][i] for at in kept if at[0] == "self"},
            )
            for i, row in enumerate(rows)
        ],
    )
