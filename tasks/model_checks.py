"""Whether the base model can make and read what the parameters ask for. Imports no torch."""

from typing import Any

from tasks.base_models import PIPELINES, BaseModel
from tasks.params import InputError, Params


def size_problems(params: Params, model: BaseModel) -> list[str]:
    """Whether the model can make images of this size and has attention maps of the sides asked."""
    section, masks = params.sample_images, params.extract_masks
    problems = [
        f"sample_images.{key}: must be a multiple of {model.pixel_step} for this model, not {value}"
        for key, value in (("height", section.height), ("width", section.width))
        if value % model.pixel_step
    ]
    if problems:
        return problems
    sides = model.attention_resolutions(section.height, section.width)
    if not sides:
        return [
            f"sample_images.model: the UNet of {section.model} has no cross-attention to read "
            "masks from; choose a text-to-image model"
        ]
    capture = section.capture
    asked = {
        "sample_images.capture.resolutions": capture.resolutions or (),
        f"extract_masks.{masks.method}.resolutions": masks.resolutions or (),
    }
    if capture.self_attention is not None:
        asked["sample_images.capture.self_attention.resolution"] = (
            capture.self_attention.resolution,
        )
    for key, wanted in asked.items():
        lacking = [str(side) for side in wanted if side not in sides]
        if lacking:
            problems.append(
                f"{key}: at {section.height}x{section.width} this model's "
                f"attention has the sides {', '.join(map(str, sides))}, not {', '.join(lacking)}"
            )
    return problems


def read_tokenizers(model: BaseModel) -> tuple[list[Any], int]:
    """The model's tokenizers, and how many tokens its text encoders read, start and end included.

    Raises:
        InputError: one cannot be loaded.
    """
    from transformers import CLIPTokenizer  # a second to import, and only needed here

    tokenizers = []
    for part in PIPELINES[model.pipeline]:
        if part.startswith("tokenizer"):
            folder = model.folder / part
            try:
                tokenizers.append(CLIPTokenizer.from_pretrained(folder, local_files_only=True))
            except Exception as error:  # whatever transformers makes of damaged files
                raise InputError(
                    f"sample_images.model: {folder} cannot be loaded: {error}; copy or fetch it "
                    "again"
                ) from None
    return tokenizers, min(model.text_length, *(one.model_max_length for one in tokenizers))
