"""Stage ``sample_images``: prompts to images, the class phrases' attention read on the way.

Samples lie in tar shards, filled per class: a larger budget keeps full shards as they are. Each
sample's noise comes from a generator of its own, on the CPU, so it is the same whatever the batch,
the shard, the order or the device. Pixels of another batch size differ by rounding only: by a grey
level in float32, by more in the half types, whose errors grow over the steps.
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from diffusers import DiffusionPipeline

from tasks import records
from tasks.adapters import ADAPTER_FILE
from tasks.attention import to_host, trace_cross_attention, trace_self_attention
from tasks.captures import Captured
from tasks.entry import run_stage
from tasks.label_maps import encode_image
from tasks.machine import choose_device
from tasks.params import InputError, Params, SampleImages
from tasks.phrases import phrase_columns
from tasks.pipelines import load_pipeline
from tasks.progress import progress
from tasks.shards import write_shard

log = logging.getLogger(__name__)

FORMAT = 2
"""Raised when what a sample's bytes are made of changes; part of every sample's identity."""

Row = dict[str, Any]


def plan_shards(rows: Sequence[Row], shard_size: int) -> Iterator[tuple[str, list[Row]]]:
    """Names and rows of all shards; a row belongs to its first class.

    Yields:
        ("car-0000.tar", rows) and so on, rows in their order.
    """
    per_class: dict[str, list[Row]] = {}
    for row in rows:
        per_class.setdefault(row["classes"][0]["name"], []).append(row)
    for name, members in per_class.items():
        for number, first in enumerate(range(0, len(members), shard_size)):
            yield f"{records.slug(name)}-{number:04d}.tar", members[first : first + shard_size]


def sample_id(
    row: Row,
    section: SampleImages,
    model: str,
    adapter: tuple[str, float] | None,
    device: str,
) -> str:
    """The identity of a sample: a hash of all that its bytes are made from, batching aside.

    Args:
        row: of ``data/prompts.parquet``.
        section: how it is sampled.
        model: digest of the base model.
        adapter: digest and scale of the adapter, if there is one.
        device: its kind, such as "cuda".
    """
    return records.content_id(
        "sample",
        FORMAT,
        row["text"],
        row["negative_prompt"],
        [[c["name"], c["start"], c["end"]] for c in row["classes"]],
        row["seed"],
        model,
        adapter,
        [section.height, section.width, section.num_inference_steps, section.guidance_scale],
        section.capture.model_dump(),
        section.dtype,
        device,
    )


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
        images = pipeline(
            [row["text"] for row in rows],
            negative_prompt=[row["negative_prompt"] for row in rows],
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


def run(params: Params, root: Path = Path()) -> None:
    """Write ``data/samples``: the shards and, last, their index."""
    section = params.sample_images
    rows = records.read_rows(root / "data/prompts.parquet")
    model = records.read_json(root / "data/inputs/model.json")["digest"]
    digest = records.read_json(root / "models/lora/adapter.json")["digest"]
    adapter = (digest, params.adapt_lora.scale) if digest else None
    device = choose_device(section.device)
    family = device.partition(":")[0]
    id_of = {row["seed"]: sample_id(row, section, model, adapter, family) for row in rows}
    if len(set(id_of.values())) != len(rows):
        raise InputError("data/prompts.parquet: two rows make the same sample; run expand_prompts")
    if section.guidance_scale <= 1:
        log.info("guidance is off: the whole batch is conditional, and all of it is read")
    out = root / "data/samples"
    shutil.rmtree(out, ignore_errors=True)
    weights = root / "models/lora" / ADAPTER_FILE if adapter else None
    pipeline = load_pipeline(section, device, root, weights, params.adapt_lora.scale)

    index: list[Row] = []
    with progress("sampling", len(rows), "images") as advance:
        for name, members in plan_shards(rows, section.shard_size):
            files: list[tuple[str, bytes]] = []
            ids = [id_of[row["seed"]] for row in members]
            for first in range(0, len(members), section.batch_size):
                part = slice(first, first + section.batch_size)
                images, captures = sample_batch(pipeline, section, members[part])
                for key, image, captured in zip(ids[part], images, captures, strict=True):
                    files.append((f"{key}.png", encode_image(image)))
                    files.append((f"{key}.attention.safetensors", captured.encode()))
                advance(len(images))
            written = write_shard(out / "shards" / name, files)
            for row, key, image_at, attention_at in zip(
                members, ids, written[::2], written[1::2], strict=True
            ):
                index.append(
                    {
                        "sample_id": key,
                        "prompt_id": row["prompt_id"],
                        "seed": row["seed"],
                        "shard": f"data/samples/shards/{name}",
                        "image_offset": image_at.offset,
                        "image_size": image_at.size,
                        "image_crc32": image_at.crc32,
                        "attention_offset": attention_at.offset,
                        "attention_size": attention_at.size,
                        "attention_crc32": attention_at.crc32,
                    }
                )
    records.write_table(out / "index.parquet", index, records.SAMPLES)


def main() -> None:
    """Sample the images of data/prompts.parquet and their attention maps: data/samples."""
    run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
