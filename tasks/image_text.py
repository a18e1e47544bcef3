"""How well images fit texts: the cosine of their embeddings by a CLIP or SigLIP model.

CLIP is arXiv 2103.00020, SigLIP arXiv 2303.15343. Finding a model imports no torch.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.base_models import weights_fault, weights_files
from tasks.digests import files_below
from tasks.params import InputError
from tasks.records import read_json

KEY = "score_masks.similarity.model"
FAMILIES = ("clip", "siglip", "siglip2")
"""Values of ``model_type`` in a ``config.json`` that are known."""


def find_image_text(model: str, root: Path = Path()) -> Path:
    """The folder of ``score_masks.similarity.model``: a path, or an id in the hub's local cache.

    Raises:
        InputError: there is none, or what is there is no whole CLIP or SigLIP model.
    """
    folder = root / model
    if not folder.is_dir():
        folder = _cached(model)
    try:
        kind = read_json(folder / "config.json")["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{KEY}: {folder} has no readable config.json with a model_type ({error}); give a "
            "folder that transformers saved"
        ) from None
    if kind not in FAMILIES:
        raise InputError(f"{KEY}: {folder} holds a {kind} model; known are {', '.join(FAMILIES)}")
    weights = weights_files(folder, "model")
    if not weights:
        raise InputError(f"{KEY}: {folder} holds no model.safetensors (pickles are not loaded)")
    for path in weights:
        fault = weights_fault(path)
        if fault:
            raise InputError(f"{KEY}: {path} {fault}; copy or fetch it again")
    return folder


def image_text_files(folder: Path) -> list[Path]:
    """The files that make the model what it is: weights, configurations and tokenizer."""
    others = [path for path in files_below(folder) if path.suffix in (".json", ".txt", ".model")]
    return sorted({*others, *weights_files(folder, "model")})


def _cached(model: str) -> Path:
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model):
        from huggingface_hub import try_to_load_from_cache  # slow, and seldom needed

        config = try_to_load_from_cache(model, "config.json")
        if isinstance(config, str):
            return Path(config).parent
    raise InputError(
        f"{KEY}: {model} is neither a folder nor a model in the hub's cache; give the path of a "
        f"folder, fetch the model once with `hf download {model}`, or write none"
    )


class ImageText:
    """A CLIP or SigLIP model, ready to compare images with texts.

    Args:
        folder: see `find_image_text`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        InputError: the folder cannot be loaded, or there is no such device.
    """

    def __init__(self, folder: Path, device: str = "auto") -> None:
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

        from tasks.machine import choose_device

        self.device = choose_device(device)
        local = {"local_files_only": True, "trust_remote_code": False}
        try:
            self.network: Any = AutoModel.from_pretrained(folder, use_safetensors=True, **local)
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, **local)
            self.processor: Any = AutoImageProcessor.from_pretrained(folder, **local)
        except Exception as error:  # whatever transformers makes of damaged files
            raise InputError(
                f"{KEY}: {folder} cannot be loaded: {error}; copy or fetch it again"
            ) from None
        self.network.to(self.device).eval()

    def images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Embeddings of length 1 of RGB ``uint8 (H, W, 3)``: ``float32 (N, D)``."""
        pixels = self.processor(images=list(images), return_tensors="pt").to(self.device)
        return self._unit(self.network.get_image_features, pixels)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings of length 1: ``float32 (N, D)``. What the text encoder cannot take is cut."""
        # SigLIP was trained on texts padded to its full length; CLIP does not mind.
        length = self.network.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=length,
            return_tensors="pt",
        ).to(self.device)
        return self._unit(self.network.get_text_features, tokens)

    def _unit(self, features: Any, inputs: Any) -> np.ndarray:
        import torch

        with torch.no_grad():
            found = features(**inputs)
        found = getattr(found, "pooler_output", found)
        return torch.nn.functional.normalize(found.float(), dim=-1).cpu().numpy()
