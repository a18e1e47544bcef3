"""What an adapter is trained from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.label_maps import encode_image
from tasks.params import Params


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
