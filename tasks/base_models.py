"""The base model as files: where it lies, what it is made of, and what it can do.

Reads configurations and headers only, never a weight, and never the network. Imports no torch.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.digests import files_below
from tasks.params import InputError

_PARTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "tokenizer": None,
    "scheduler": None,
}
PIPELINES = {
    "StableDiffusionPipeline": _PARTS,
    "StableDiffusionXLPipeline": {**_PARTS, "text_encoder_2": "model", "tokenizer_2": None},
}
"""Pipelines that can be sampled from: the parts that are loaded, and the stem of their weights."""

HUB = "https://huggingface.co"
LOADED = " ".join(
    f"--include '{pattern}'"
    for pattern in (
        "*.json",
        "*/merges.txt",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder*/model.safetensors",
    )
)
"""Options of ``hf download`` for what is loaded: such a repository holds the weights many times."""

_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class BaseModel:
    """A base model's folder and the facts that parameters are checked against.

    Attributes:
        folder: the diffusers folder.
        pipeline: class name of the pipeline.
        text_length: positions of the text encoder, start and end tokens included; of two text
            encoders, the smaller number.
        pixel_step: height and width must be multiples of it.
        vae_factor: pixels per latent position.
        attention_levels: halvings of the latents at which the UNet has cross-attention. The same
            transformer blocks hold its self-attention.
    """

    folder: Path
    pipeline: str
    text_length: int
    pixel_step: int
    vae_factor: int
    attention_levels: tuple[int, ...]

    def attention_resolutions(self, height: int, width: int) -> list[int]:
        """Longer sides of the attention maps for an image of this size, largest first."""
        side = max(height, width) // self.vae_factor
        return sorted({-(-side // 2**level) for level in self.attention_levels}, reverse=True)


def find_model(model: str, root: Path = Path()) -> Path:
    """The folder of ``sample_images.model``: a path, or an id in the hub's local cache.

    Raises:
        InputError: there is neither.
    """
    folder = root / model
    if folder.is_dir():
        return folder
    if folder.exists():
        raise InputError(
            f"sample_images.model: {model} is a file; give a folder in diffusers format (convert "
            "a single-file checkpoint with from_single_file(...).save_pretrained(...))"
        )
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model):
        from huggingface_hub import try_to_load_from_cache  # slow, and seldom needed

        index = try_to_load_from_cache(model, "model_index.json")
        if isinstance(index, str):
            return Path(index).parent
    raise InputError(
        f"sample_images.model: {model} is neither a folder nor a model in the hub's cache; give "
        f"the path of a folder in diffusers format, or read the licence, {HUB}/{model}, and fetch "
        f"the model once into that cache with `hf download {model} {LOADED}`"
    )


def read_model(folder: Path) -> BaseModel:
    """What the configurations in a diffusers folder say.

    Raises:
        InputError: the folder is no Stable Diffusion (XL) model, or parts of it are missing,
            cut short or unreadable; all that is wrong is listed.
    """
    index = _read_json(folder / "model_index.json")
    pipeline = str(index.get("_class_name"))
    if pipeline not in PIPELINES:
        why = (
            "its backbone is a transformer, whose attention cannot be read"
            if index.get("transformer", [None])[0]
            else "it cannot be sampled from here"
        )
        raise InputError(
            f"sample_images.model: {folder} holds a {pipeline}: {why}; "
            f"supported are {' and '.join(PIPELINES)} (Stable Diffusion 1.x, 2.x, XL)"
        )
    problems = [
        fault
        for part, stem in PIPELINES[pipeline].items()
        for fault in _part_faults(folder / part, stem)
    ]
    if problems:
        raise InputError(
            f"sample_images.model: {folder} is not whole: {'; '.join(problems)}; "
            "copy or fetch it again"
        )
    config_of = {
        part: _read_json(folder / part / "config.json")
        for part, stem in PIPELINES[pipeline].items()
        if stem
    }
    unet, vae = config_of["unet"], config_of["vae"]
    text_encoders = [config for part, config in config_of.items() if part.startswith("text_")]
    blocks = vae.get("block_out_channels") or vae.get("encoder_block_out_channels") or [0] * 4
    factor = 2 ** (len(blocks) - 1)
    return BaseModel(
        folder=folder,
        pipeline=pipeline,
        text_length=min(int(one.get("max_position_embeddings", 77)) for one in text_encoders),
        pixel_step=max(8, factor),  # the pipelines insist on 8
        vae_factor=factor,
        attention_levels=_attention_levels(unet),
    )


def model_files(model: BaseModel) -> list[Path]:
    """The files that make the model what it is: the index and, of each part, what is loaded.

    A read-me, a sample picture, a pickle or a variant beside the weights changes nothing.
    """
    found = [model.folder / "model_index.json"]
    for part, stem in PIPELINES[model.pipeline].items():
        folder = model.folder / part
        found += [path for path in files_below(folder) if path.suffix in (".json", ".txt")]
        found += weights_files(folder, stem)
    return found


def weights_files(folder: Path, stem: str | None) -> list[Path]:
    """``<stem>.safetensors``, or its numbered shards; a variant's, such as fp16, are others."""
    if stem is None:
        return []
    whole = folder / f"{stem}.safetensors"
    return [whole] if whole.is_file() else sorted(folder.glob(f"{stem}-?????-of-?????.safetensors"))


def _attention_levels(unet: dict[str, Any]) -> tuple[int, ...]:
    """Halvings of the latents at which a UNet2DConditionModel attends to the text."""
    down = unet.get("down_block_types", [])
    up = unet.get("up_block_types", [])
    levels = {level for level, kind in enumerate(down) if "CrossAttn" in kind}
    levels |= {len(up) - 1 - position for position, kind in enumerate(up) if "CrossAttn" in kind}
    if "CrossAttn" in (unet.get("mid_block_type", "UNetMidBlock2DCrossAttn") or ""):
        levels.add(len(down) - 1)
    return tuple(sorted(levels))


def _part_faults(folder: Path, stem: str | None) -> list[str]:
    """What is wrong with a part of the model, as far as names, sizes and headers tell."""
    if not folder.is_dir():
        return [f"the part {folder.name}/ is missing"]
    if stem is None:
        return []
    weights = weights_files(folder, stem)
    if not weights:
        return [f"{folder.name}/ holds no {stem}.safetensors (pickles are not loaded)"]
    faults = [(path.name, weights_fault(path)) for path in weights]
    faults += [(name, "is missing") for name in _missing_shards(weights)]
    return [f"{folder.name}/{name} {fault}" for name, fault in faults if fault]


def _missing_shards(weights: list[Path]) -> list[str]:
    """The names that are not there of the N that each ``...-of-N.safetensors`` tells of."""
    names = {path.name for path in weights}
    told = set()
    for name in names:
        if match := re.fullmatch(r"(.+-)[0-9]{5}(-of-([0-9]{5})\.safetensors)", name):
            start, end, count = match.groups()
            told |= {f"{start}{number:05}{end}" for number in range(1, int(count) + 1)}
    return sorted(told - names)


def weights_fault(path: Path) -> str | None:
    """What the first bytes of a weights file tell is wrong with it, or None."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(len(_LFS_POINTER))
        if start == _LFS_POINTER:
            return "is a Git LFS pointer, not the file (run `git lfs pull`)"
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if 8 + length > size:
            return "is cut short or no safetensors file"
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key[:2] != "__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return "is no safetensors file"
    whole = 8 + length + max(ends, default=0)
    return None if whole == size else f"is cut short: {size} of {whole} bytes"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"sample_images.model: {os.path.relpath(path)} does not exist; the folder must be in "
            "diffusers format, with a model_index.json and a folder for each part"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"sample_images.model: {path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"sample_images.model: {path} must hold a JSON object")
    return value
