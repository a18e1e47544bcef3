"""What is sampled at toy size: parameters, rows of prompts, an adapter, a model of no cost."""

import hashlib
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import records, sample_images
from tasks.adapters import ADAPTER_FILE
from tasks.captures import Captured
from tasks.lora_trainer import Job, Trainer
from tasks.params import Params, SampleImages, load_params
from tasks.prompts import expand

ROOT = Path(__file__).parents[2]

CAPTURE = {
    "steps": [0, "all"],
    "resolutions": [16, 8],
    "self_attention": {"resolution": 8, "step": 1},
}


def params(**changes: object) -> SampleImages:
    whole: Params = load_params(ROOT / "presets/storybook.yaml")
    values = whole.sample_images.model_dump() | {
        "model": str(ROOT / "models/storybook-sd"),
        "num_inference_steps": 3,
        "dtype": "float32",
        "device": "cpu",
    }
    return SampleImages.model_validate(values | changes)


@pytest.fixture(scope="session")
def rows() -> list[dict]:
    section = load_params(ROOT / "presets/storybook.yaml").expand_prompts
    section = section.model_copy(update={"images_per_class": 2, "several_share": 1.0})
    return list(islice(expand(section), 2, 7))  # the first class stands beside none in its rows


def toy_row(text: str, word: str) -> dict:
    start = text.index(word)
    named = {"name": word, "start": start, "end": start + len(word)}
    return {
        "prompt_id": "p",
        "text": text,
        "negative_prompt": "",
        "classes": [named],
        "seed": 1,
    }


def train_toy(folder: Path, root: Path, job: Job) -> str:
    """Write what adapt_lora leaves, with an adapter that changes much; returns its digest."""
    trainer = Trainer(job, "cpu", root)
    for step in range(3):
        trainer.step(step)
    trainer.adapter.save(type(trainer.pipeline), folder)
    digest = hashlib.sha256((folder / ADAPTER_FILE).read_bytes()).hexdigest()
    records.write_json(folder / "adapter.json", {"source": "trained", "digest": digest})
    return digest


def fake_batch(
    _pipeline: object, section: SampleImages, part: list[dict]
) -> tuple[np.ndarray, list[Captured]]:
    """Noise of the row, with a trace of the batch's size, as rounding leaves one."""
    images = [np.random.default_rng(row["seed"]).integers(0, 255, (8, 8, 3)) for row in part]
    maps = [np.full((len(row["classes"]), 4, 4), 0.5, np.float16) for row in part]
    images[0][0, 0, 0] = len(part)
    return (
        np.array(images, np.uint8),
        [Captured({("middle", (4, 4)): each}) for each in maps],
    )


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """A model that costs nothing, and the seeds of the batches that it was asked for."""
    asked: list[list[int]] = []

    def sample(pipeline: object, section: SampleImages, part: list[dict]) -> Any:
        asked.append([row["seed"] for row in part])
        return fake_batch(pipeline, section, part)

    monkeypatch.setattr(sample_images, "sample_batch", sample)
    monkeypatch.setattr(sample_images, "load_pipeline", lambda *_: None)
    vars(sample_images._held).clear()
    return asked
