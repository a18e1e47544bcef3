"""Stage ``sample_images``: prompts to images, the class phrases' cross-attention read on the way.

Samples lie in tar shards, filled per class: a larger budget keeps full shards as they are. Each
sample's noise comes from a generator of its own, on the CPU, so it is the same whatever the batch,
the shard, the order or the device.
"""

import io
import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from tasks import records
from tasks.attention import phrase_columns, trace_cross_attention
from tasks.entry import run_stage
from tasks.label_maps import encode_image
from tasks.machine import choose_device
from tasks.params import InputError, Params, SampleImages
from tasks.progress import progress
from tasks.shards import write_shard

log = logging.getLogger(__name__)

FORMAT = 1
"""Raised when what a sample's bytes are made of changes; part of every sample's identity."""

Row = dict[str, Any]


def slug(name: str) -> str:
    """A class name as a file name: letters, digits, hyphens; a short hash keeps others apart."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return plain if plain == name else f"{plain}-{records.content_id(name)[:6]}"


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
            yield f"{slug(name)}-{number:04d}.tar", members[first : first + shard_size]


def sample_id(row: Row, section: SampleImages, model: str, adapter: str | None, device: str) -> str:
    """The identity of a sample: a hash of all that its bytes are made from, batching aside."""
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
        [section.traced_step, section.attention_resolution],
        section.dtype,
        device,
    )


def load_pipeline(section: SampleImages, device: str) -> StableDiffusionPipeline:
    """The base model from a folder or the hub's local cache; nothing is downloaded."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        section.model,
        torch_dtype=getattr(torch, section.dtype),
        safety_checker=None,
        requires_safety_checker=False,
        feature_extractor=None,
        local_files_only=True,
        use_safetensors=True,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def sample_batch(
    pipeline: StableDiffusionPipeline, section: SampleImages, rows: Sequence[Row]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Sample one batch and read its attention.

    Returns:
        images ``uint8 (N, H, W, 3)`` and, per sample, heat ``float16 (phrases, h, w)``: the class
        phrases' attention probabilities at the traced step, averaged over heads and layers.
    """
    tokenizer = pipeline.tokenizer
    columns = [
        phrase_columns(tokenizer, row["text"], [(c["start"], c["end"]) for c in row["classes"]])
        for row in rows
    ]
    generators = [torch.Generator("cpu").manual_seed(row["seed"]) for row in rows]
    with trace_cross_attention(
        pipeline.unet,
        columns,
        steps=[section.traced_step],
        text_length=tokenizer.model_max_length,
        resolutions=[section.attention_resolution],
    ) as trace:
        images = pipeline(
            [row["text"] for row in rows],
            negative_prompt=[row["negative_prompt"] for row in rows],
            height=section.height,
            width=section.width,
            num_inference_steps=section.num_inference_steps,
            guidance_scale=section.guidance_scale,
            generator=generators,
            output_type="np",
            callback_on_step_end=trace.on_step_end,
        ).images
    (maps,) = trace.maps().values()
    heat = maps.cpu().numpy().astype(np.float16)
    return (
        (images * 255).round().astype(np.uint8),
        [one[: len(row["classes"])] for one, row in zip(heat, rows, strict=True)],
    )


def encode_heat(heat: np.ndarray) -> bytes:
    """``float16 (phrases, h, w)`` in NumPy's own format."""
    buffer = io.BytesIO()
    np.save(buffer, heat, allow_pickle=False)
    return buffer.getvalue()


def run(params: Params, root: Path = Path()) -> None:
    """Write ``data/samples``: the shards and, last, their index."""
    section = params.sample_images
    rows = records.read_rows(root / "data/prompts.parquet")
    model = records.read_json(root / "data/inputs/model.json")["digest"]
    adapter = records.read_json(root / "models/lora/adapter.json")["digest"]
    out = root / "data/samples"
    shutil.rmtree(out, ignore_errors=True)
    device = choose_device(section.device)
    pipeline = load_pipeline(section, device)

    index: list[Row] = []
    with progress("sampling", len(rows), "images") as advance:
        for name, members in plan_shards(rows, section.shard_size):
            files: list[tuple[str, bytes]] = []
            ids = [
                sample_id(row, section, model, adapter, device.partition(":")[0]) for row in members
            ]
            for first in range(0, len(members), section.batch_size):
                part = slice(first, first + section.batch_size)
                images, heats = sample_batch(pipeline, section, members[part])
                for key, image, heat in zip(ids[part], images, heats, strict=True):
                    files.append((f"{key}.png", encode_image(image)))
                    files.append((f"{key}.heat.npy", encode_heat(heat)))
                advance(len(images))
            written = write_shard(out / "shards" / name, files)
            for row, key, image_at, heat_at in zip(
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
                        "heat_offset": heat_at.offset,
                        "heat_size": heat_at.size,
                    }
                )
    if len({row["sample_id"] for row in index}) != len(index):
        raise InputError("data/prompts.parquet: two rows make the same sample; run expand_prompts")
    records.write_table(out / "index.parquet", index, records.SAMPLES)


def main() -> None:
    """Sample the images of data/prompts.parquet and their attention maps: data/samples."""
    run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
