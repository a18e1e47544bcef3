"""Which shards a run of ``sample_images`` consists of, and what each is made from.

Shards are filled per class: a larger budget keeps full shards as they are. Nothing is held of a
plan but the shard in hand. Imports no torch, unless the device is left open.
"""

import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from tasks import records
from tasks.adapters import ADAPTER_FILE
from tasks.digests import CACHE_PATH, DigestCache
from tasks.machine import choose_device
from tasks.model_digest import model_digest
from tasks.params import InputError, Params, SampleImages

FORMAT = 2
"""Raised when what a sample's bytes are made of changes; part of every sample's identity."""
XL = "StableDiffusionXLPipeline"
LIBRARIES = ("torch", "diffusers", "transformers")
"""Their versions are part of a shard's fingerprint."""

Row = dict[str, Any]
Adapter = tuple[str, float]
"""Digest of an adapter's weights and the strength that it is used with."""


@dataclass(frozen=True)
class Recipe:
    """What the samples of a run have in common.

    Attributes:
        section: how they are sampled.
        model: digest of the base model.
        adapter: None where there is none.
        device: its kind, such as "cuda".
        libraries: name and version.
        pipeline: class name of the base model's.
        format: `FORMAT` of the machine that plans.
    """

    section: SampleImages
    model: str
    adapter: Adapter | None
    device: str
    libraries: tuple[tuple[str, str], ...]
    pipeline: str = ""
    format: int = FORMAT


@dataclass(frozen=True)
class SampleJob:
    """A shard to sample. It can be pickled, and needs no file but the model's and the adapter's.

    Attributes:
        name: of the shard, such as "car-0000.tar".
        rows: of ``data/prompts.parquet``.
        recipe: how.
    """

    name: str
    rows: list[Row]
    recipe: Recipe

    @cached_property
    def ids(self) -> list[str]:
        """The rows' sample ids."""
        recipe = self.recipe
        made_by = (recipe.section, recipe.model, recipe.adapter, recipe.device, recipe.pipeline)
        return [sample_id(row, *made_by) for row in self.rows]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that the shard's bytes are made from."""
        recipe = self.recipe
        return records.content_id("samples", self.ids, recipe.section.batch_size, recipe.libraries)


def read_recipe(params: Params, root: Path = Path()) -> Recipe:
    """The recipe of the run that is configured, from the outputs of the stages before.

    The device need not be here, unless it is left open: ``cuda`` can be planned for without one.
    """
    section = params.sample_images
    digest = records.read_json(root / "models/lora/adapter.json")["digest"]
    model = records.read_json(root / "data/inputs/model.json")
    device = section.device
    if device == "auto":
        device = choose_device(device)
    return Recipe(
        section,
        model["digest"],
        (digest, params.adapt_lora.scale) if digest else None,
        device.partition(":")[0],
        library_versions(),
        model.get("pipeline", ""),
    )


def check_worker(recipe: Recipe, root: Path = Path()) -> None:
    """Whether this machine has the model, adapter, libraries and sample format of the recipe.

    Raises:
        InputError: it does not.
    """
    found: dict[str, tuple[Any, Any]] = {
        f"the model {recipe.section.model}": (
            recipe.model,
            model_digest(recipe.section.model, root),
        ),
        "libraries": (recipe.libraries, library_versions()),
        "the format of samples (tasks/sample_shards.py)": (recipe.format, FORMAT),
    }
    if recipe.adapter:
        path = root / "models/lora" / ADAPTER_FILE
        cache = DigestCache(root / CACHE_PATH)
        digest = cache.file(path) if path.is_file() else "missing"
        cache.save()
        found["the adapter in models/lora"] = (recipe.adapter[0], digest)
    for what, (planned, here) in found.items():
        if planned != here:
            raise InputError(
                f"sample_images: {what} of this machine, {socket.gethostname()}, is not what the "
                f"run is planned with: {here} instead of {planned}; on the machine that plans, run "
                "`dvc repro sample_images`, which reads it anew; on another, copy it from there, "
                "check out its commit, or install the versions of requirements.lock"
            )


def library_versions() -> tuple[tuple[str, str], ...]:
    """Name and version of the libraries that make the pixels."""
    return tuple((name, metadata.version(name)) for name in LIBRARIES)


def shard_jobs(params: Params, root: Path = Path()) -> Iterator[SampleJob]:
    """All shards of the run that is configured, in the order of its index."""
    recipe, path = read_recipe(params, root), root / "data/prompts.parquet"
    named = records.stream_rows(path, ["classes.list.element.name"])
    counts = Counter(row["classes"][0]["name"] for row in named)
    shards = plan_shards(records.stream_rows(path), counts, recipe.section.shard_size)
    for name, members in shards:
        yield SampleJob(name, members, recipe)


def plan_shards(
    rows: Iterable[Row], counts: Mapping[str, int], shard_size: int
) -> Iterator[tuple[str, list[Row]]]:
    """Names and rows of all shards; a row belongs to its first class.

    A shard is given away as soon as it is whole, or its class at an end. `expand_prompts` writes
    class by class: so one shard is held at a time.

    Args:
        counts: how many rows belong to each class.

    Yields:
        ("car-0000.tar", rows) and so on, rows in their order.
    """
    waiting: dict[str, list[Row]] = {}
    seen: Counter[str] = Counter()
    for row in rows:
        name = row["classes"][0]["name"]
        waiting.setdefault(name, []).append(row)
        seen[name] += 1
        if len(waiting[name]) == shard_size or seen[name] == counts[name]:
            number = (seen[name] - 1) // shard_size
            yield f"{records.slug(name)}-{number:04d}.tar", waiting.pop(name)


def sample_id(
    row: Row,
    section: SampleImages,
    model: str,
    adapter: tuple[str, float] | None,
    device: str,
    pipeline: str = "",
) -> str:
    """The identity of a sample: a hash of all that its bytes are made from, batching aside.

    Args:
        row: of ``data/prompts.parquet``.
        section: how it is sampled.
        model: digest of the base model.
        adapter: digest and scale of the adapter, if there is one.
        device: its kind, such as "cuda".
        pipeline: class name of the base model's.
    """
    # Ids of the other pipelines are older than XL's own way to leave the prompt empty.
    own_empty = pipeline == XL and not row["negative_prompt"]
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
        # The model's own is not said: ids are older than the choice of another.
        *([] if section.scheduler == "model" else [section.scheduler]),
        section.capture.model_dump(),
        section.dtype,
        device,
        *(["empty: the model's own"] if own_empty else []),
    )
