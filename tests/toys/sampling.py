"""What is sampled at toy size: parameters, rows of prompts, an adapter."""

import hashlib
from itertools import islice
from pathlib import Path

import pytest

from tasks import records
from tasks.adapters import ADAPTER_FILE
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
