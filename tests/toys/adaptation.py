"""What an adapter is trained from, and what its training leaves for the report."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import records
from tasks.label_maps import encode_image
from tasks.params import Params
from tests.toys.runs import SCRIPT_PROMPT


@pytest.fixture
def make_job(
    tmp_path: Path, toy_folders: dict[str, Path], make_params: Callable[..., Params]
) -> Callable[..., Any]:
    """What to train a toy pipeline's adapter from: five pictures, the last of them wide."""
    from tasks.encoding import Captioned  # imports torch
    from tasks.lora_trainer import Job

    rng = np.random.default_rng(0)
    for number in range(5):
        shape = (40, 80, 3) if number == 4 else (64, 64, 3)
        pixels = rng.integers(0, 255, (1, 1, 3)) * np.ones(shape) * rng.uniform(0.5, 1, shape)
        path = tmp_path / f"own/{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_image(pixels.astype(np.uint8)))

    def make(kind: str = "1.x", **changes: Any) -> Job:
        values = {
            "adapter": "train",
            "images": "own",
            "batch_size": 2,
            "steps": 6,
            "eval_interval": 2,
            "warmup": 0,
            "learning_rate": 0.01,
            "rank": 4,
            "alpha": 6.0,
            "dtype": "float32",
            "crops_per_image": 2,
            **changes,
        }
        section = make_params({f"adapt_lora.{key}": v for key, v in values.items()}).adapt_lora
        images = tuple(
            Captioned(tmp_path / f"own/{n}.png", f"{n}.png", caption, f"digest{n}")
            for n, caption in enumerate(["a dog", "an oak"] * 2 + ["a dog"])
        )
        return Job(section, str(toy_folders[kind]), "base", (64, 64), images, ("dog", "oak"))

    return make


def write_adaptation(root: Path, best: int) -> None:
    """What a training of 20 steps leaves, with the same hostile caption everywhere."""
    held_out = [[0, 0.4], [10, 0.5], [20, 0.6]] if best == 0 else [[0, 0.4], [10, 0.3], [20, 0.35]]
    training = {
        "steps": 20,
        "best_step": best,
        "stopped_early": True,
        "images": 7,
        "held_out_images": 1,
        "seconds": 200.0,
        "parameters": 1234,
        "curve": [[10, 0.4], [20, 0.3]],
        "held_out": held_out,
        "sheets": [SCRIPT_PROMPT],
    }
    record = {
        "source": "trained",
        "digest": "fedcba9876543210" * 4,
        "rank": 4,
        "alpha": 2.0,
        "layers": ["self", "cross"],
        "targets": ["to_q", "to_k"],
        "images": [],
    }
    frame = encode_image(np.full((8, 8, 3), 200, np.uint8))
    path = root / "frames/one.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(frame)
    entry = {
        "name": "one.png",
        "digest": hashlib.sha256(frame).hexdigest(),
        "caption": SCRIPT_PROMPT,
    }
    record["images"] = [entry, *[{**entry, "name": f"gone{number}.png"} for number in range(7)]]
    measured = {"held_out_loss_before": 0.4, "held_out_loss_after": 0.3, "fall": 0.25}
    records.write_json(root / "metrics/adaptation.json", measured)
    records.write_json(root / "models/lora/adapter.json", record)
    records.write_json(root / "models/lora/training.json", training)
    for step, _ in held_out:
        sheet = root / f"models/lora/sheets/sheet-{step:05d}.png"
        sheet.parent.mkdir(exist_ok=True)
        sheet.write_bytes(encode_image(np.full((16, 64, 3), step, np.uint8)))


@pytest.fixture
def adapted(make_params: Callable[..., Params]) -> Params:
    """Parameters of the run whose training `write_adaptation` leaves."""
    return make_params(
        {
            "expand_prompts.classes": ["car", "boat"],
            "adapt_lora.adapter": "train",
            "adapt_lora.images": "frames",
            "sample_images.height": 16,
            "sample_images.width": 16,
        }
    )
