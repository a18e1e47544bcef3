"""Pipelines of diffusers from local files, quietly: the base model, with or without an adapter."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

from tasks.base_models import find_model, read_model
from tasks.params import SampleImages, Scheduler

SCHEDULERS: Mapping[Scheduler, Any] = {
    "ddim": DDIMScheduler,
    "euler": EulerDiscreteScheduler,
    "dpm": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
}
"""By the names of ``sample_images.scheduler``. Each takes over the noise levels and the prediction
type that the model was trained with, and brings its own way from one level to the next: DDIM (Song
et al. 2020, eq. 12), Euler's method (Karras et al. 2022, algorithm 1 without its correction),
DPM-Solver++ of second order (Lu et al. 2022, algorithm 2), UniPC (Zhao et al. 2023)."""


def load_pipeline(
    section: SampleImages,
    device: str,
    root: Path = Path(),
    adapter: Path | None = None,
    scale: float = 1.0,
) -> DiffusionPipeline:
    """The pipeline to sample with.

    Args:
        section: names the model, its number type and the scheduler.
        device: where it will run.
        root: where a relative path of the model starts from.
        adapter: a file of LoRA weights to put on top.
        scale: the adapter's strength; at 0 it is left out.

    Raises:
        InputError: see `read_pipeline`.
    """
    pipeline = read_pipeline(section.model, getattr(torch, section.dtype), root)
    if section.scheduler != "model":
        with _quiet_libraries():
            known = pipeline.scheduler.config
            pipeline.scheduler = SCHEDULERS[section.scheduler].from_config(known)
    if adapter is not None and scale:  # added at 0 it would still round
        with _quiet_libraries():
            pipeline.load_lora_weights(
                adapter.parent,
                weight_name=adapter.name,
                local_files_only=True,
            )
            # Added to the base's weights once, not computed beside them at every step.
            pipeline.fuse_lora(lora_scale=scale)
            pipeline.unload_lora_weights()
    return pipeline.to(device)


def read_pipeline(
    model: str, dtype: torch.dtype | Mapping[str, torch.dtype], root: Path = Path()
) -> DiffusionPipeline:
    """The base model from a folder or the hub's local cache, on the CPU; nothing is downloaded.

    Args:
        model: a folder in diffusers format, or an id.
        dtype: the number type, or one for each part and "default" for the others.
        root: where a relative path starts from.

    Raises:
        InputError: it is not there, or is no whole model that can be sampled from here.
    """
    found = read_model(find_model(model, root))
    with _quiet_libraries():
        parts = inspect.signature(getattr(diffusers, found.pipeline)).parameters
        # Not part of the generator: what blackens images, what only it needs, and what writes a
        # watermark into XL's pixels wherever its library happens to be installed.
        off = {
            "safety_checker": None,
            "requires_safety_checker": False,
            "feature_extractor": None,
            "add_watermarker": False,
        }
        pipeline = DiffusionPipeline.from_pretrained(
            found.folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            **{name: value for name, value in off.items() if name in parts},
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keeps loading bars and advice on other models out of the log; errors still come through."""
    loggers = (diffusers.utils.logging, transformers.utils.logging)
    before = [logger.get_verbosity() for logger in loggers]
    for logger in loggers:
        logger.set_verbosity_error()
        logger.disable_progress_bar()
    try:
        yield
    finally:
        for logger, verbosity in zip(loggers, before, strict=True):
            logger.set_verbosity(verbosity)
            logger.enable_progress_bar()
