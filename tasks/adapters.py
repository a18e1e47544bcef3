"""Files of LoRA weights: which one is meant, and whether it fits the base model.

Reads headers only, never a weight. Imports no torch.
"""

import json
import re
from pathlib import Path

from tasks.base_models import BaseModel, weights_fault, weights_files
from tasks.labelled_sets import some
from tasks.params import InputError

ADAPTER_FILE = "pytorch_lora_weights.safetensors"
"""What diffusers calls LoRA weights in its own format."""

_LAYER = r"unet\.(?P<layer>.+)\."
_FORMS = (
    re.compile(_LAYER + r"(?:lora_(?P<into>A)|lora_B)\.weight"),
    re.compile(_LAYER + r"lora\.(?:(?P<into>down)|up)\.weight"),
    re.compile(_LAYER + r"processor\.(?P<projection>to_\w+)_lora\.(?:(?P<into>down)|up)\.weight"),
)
"""How PEFT and older versions of diffusers name a layer's two matrices."""

Shapes = dict[str, tuple[int, ...]]
"""Tensor name -> shape."""


def find_adapter(adapter: str, root: Path = Path()) -> Path:
    """The weights file of ``adapt_lora.adapter``: a file, or the one in a folder.

    Raises:
        InputError: there is none, or it is a pickle.
    """
    path = root / adapter
    if path.is_dir():
        usual = path / ADAPTER_FILE
        found = [usual] if usual.is_file() else sorted(path.glob("*.safetensors"))
        if len(found) != 1:
            raise InputError(
                f"adapt_lora.adapter: {path} holds {len(found)} safetensors files; give a folder "
                f"with {ADAPTER_FILE}, or the file itself"
            )
        return found[0]
    if not path.is_file():
        raise InputError(
            f"adapt_lora.adapter: {path} does not exist; give none, train, or a file or folder of "
            "LoRA weights"
        )
    if path.suffix != ".safetensors":
        raise InputError(
            f"adapt_lora.adapter: {path} is no safetensors file, and pickles are not loaded; save "
            "it with save_lora_weights(..., safe_serialization=True)"
        )
    return path


def read_shapes(file: Path) -> Shapes:
    """The names and shapes in a whole safetensors file."""
    with open(file, "rb") as content:
        header = json.loads(content.read(int.from_bytes(content.read(8), "little")))
    return {key: tuple(entry["shape"]) for key, entry in header.items() if key[:2] != "__"}


def adapter_problems(file: Path, model: BaseModel) -> list[str]:
    """Whether the matrices fit the layers of the base model's network.

    Args:
        file: LoRA weights: for each layer a matrix (rank, inputs) and one (outputs, rank).
        model: the base model.
    """
    fault = weights_fault(file)
    if fault:
        return [f"adapt_lora.adapter: {file} {fault}"]
    shapes = read_shapes(file)
    found = {key: match for form in _FORMS for key in shapes if (match := form.fullmatch(key))}
    if not found:
        return [
            f"adapt_lora.adapter: {file} holds no LoRA weights of a UNet in diffusers' format "
            f"({some(list(shapes)[:1])}, say); convert it with load_lora_weights and "
            "save_lora_weights"
        ]
    base: Shapes = {}
    for weights in weights_files(model.folder / "unet", "diffusion_pytorch_model"):
        base |= read_shapes(weights)
    wrong = [
        f"{key} ({fault})"
        for key, match in found.items()
        if (fault := _misfit(shapes[key], match, base))
    ]
    if not wrong:
        return []
    return [
        f"adapt_lora.adapter: {file} is for another architecture than {model.folder}: "
        f"{some(wrong)}; choose an adapter that was made for this base model"
    ]


def base_problem(file: Path, base: str) -> str | None:
    """Whether the record beside an adapter, if there is one, names another base model.

    Args:
        file: the adapter.
        base: digest of the base model.
    """
    beside = file.with_name("adapter.json")
    try:
        record = json.loads(beside.read_text(encoding="utf-8"))
        named = record.get("base", base)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        return f"adapt_lora.adapter: {beside} cannot be read: {error}; mend or remove it"
    if named == base:
        return None
    return (
        f"adapt_lora.adapter: {file} was made for another base model: {beside} names the digest "
        f"{named[:12]}..., and sample_images.model has {base[:12]}...; choose that model, or train "
        "an adapter for this one"
    )


def _misfit(shape: tuple[int, ...], match: re.Match[str], base: Shapes) -> str | None:
    """Why a matrix does not fit its layer."""
    parts = match.groupdict()
    layer = parts["layer"]
    if projection := parts.get("projection"):
        layer += f".{'to_out.0' if projection == 'to_out' else projection}"
    wanted = base.get(f"{layer}.weight")
    if wanted is None:
        return "no such layer"
    side, unit = (1, "inputs") if parts["into"] else (0, "outputs")
    if shape[side] == wanted[side]:
        return None
    return f"{shape[side]} {unit}, not {wanted[side]}"
