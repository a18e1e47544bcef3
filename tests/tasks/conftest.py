"""What several tests of stages need: parameters to change, and a model folder without weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from tasks.params import Params

ROOT = Path(__file__).parents[2]
START, END = "<|startoftext|>", "<|endoftext|>"


def change(raw: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Set dotted keys in a params mapping."""
    for key, value in changes.items():
        *path, last = key.split(".")
        place = raw
        for part in path:
            place = place[part]
        place[last] = value
    return raw


@pytest.fixture
def make_params() -> Callable[..., Params]:
    """The default preset's parameters with some dotted keys changed."""

    def make(changes: dict[str, Any] | None = None) -> Params:
        raw = yaml.safe_load((ROOT / "presets/storybook.yaml").read_text(encoding="utf-8"))
        return Params.model_validate(change(raw, changes or {}))

    return make


def write_tokenizer(folder: Path, words: tuple[str, ...] = (), length: int = 20) -> None:
    """A CLIP tokenizer that has a token for each byte and for each of ``words``."""
    alphabet = sorted(ByteLevel.alphabet())
    symbols = [START, END, *alphabet, *(f"{symbol}</w>" for symbol in alphabet)]
    merges = []
    for word in words:
        left = word[0]
        for position, letter in enumerate(word[1:], start=1):
            right = letter if position < len(word) - 1 else f"{letter}</w>"
            if (left, right) not in merges:
                merges.append((left, right))
                symbols.append(left + right)
            left += right
    vocab = {symbol: number for number, symbol in enumerate(dict.fromkeys(symbols))}
    tokenizer = CLIPTokenizer(
        vocab=vocab,
        merges=merges,
        unk_token=END,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        model_max_length=length,
    )
    tokenizer.save_pretrained(folder)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A Stable Diffusion folder with the storybook model's shapes and next to no weights."""
    folder = tmp_path / "model"
    parts = {
        "unet": (
            "diffusion_pytorch_model",
            {
                "_class_name": "UNet2DConditionModel",
                "down_block_types": ["CrossAttnDownBlock2D"] * 3,
                "mid_block_type": "UNetMidBlock2DCrossAttn",
                "up_block_types": ["CrossAttnUpBlock2D"] * 3,
            },
        ),
        "vae": (
            "diffusion_pytorch_model",
            {"_class_name": "AutoencoderTiny", "block_out_channels": [32, 32, 32]},
        ),
        "text_encoder": ("model", {"max_position_embeddings": 20}),
    }
    for name, (stem, config) in parts.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(config))
        save_file({"weight": np.arange(4, dtype=np.float32)}, folder / name / f"{stem}.safetensors")
    (folder / "scheduler").mkdir()
    (folder / "scheduler/scheduler_config.json").write_text("{}")
    write_tokenizer(folder / "tokenizer", ("automobile", "picture", "under", "drawing"))
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderTiny"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "safety_checker": [None, None],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
