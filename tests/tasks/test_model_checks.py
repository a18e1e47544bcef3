"""The base model has the attention maps that are asked for, and tokenizers that agree."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.base_models import read_model
from tasks.model_checks import read_tokenizers
from tasks.params import Params
from tasks.preflight import run
from tasks.prompt_checks import prompt_problems
from tasks.prompt_sources import Plan, prepare
from tests.toys.inputs import OUTPUTS, message, outputs

Make = Callable[..., Params]


def test_a_tokenizer_that_cannot_be_loaded_is_told(make: Make, root: Path) -> None:
    (root / "model/tokenizer/tokenizer.json").write_text("{}")
    assert "sample_images.model: " in message(make(), root)


@pytest.mark.parametrize("resolutions", [None, [16, 4]])
def test_maps_that_the_model_has_are_fine(
    make: Make, root: Path, resolutions: list[int] | None
) -> None:
    capture = {
        "sample_images.capture.resolutions": resolutions,
        "sample_images.capture.self_attention": {"resolution": 8, "step": "middle"},
        "extract_masks.attn2mask.resolutions": None,
    }
    run(make(capture), root)
    assert set(outputs(root)) == OUTPUTS


def test_a_model_without_cross_attention_is_told(make: Make, root: Path) -> None:
    config = root / "model/unet/config.json"
    blocks = {"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
    config.write_text(json.dumps({**blocks, "mid_block_type": None}))
    expected = "sample_images.model: the UNet of model has no cross-attention to read masks from"
    assert message(make(), root).startswith(expected)


XL = {
    "sample_images.model": "xl",
    "sample_images.capture.resolutions": None,
    "extract_masks.attn2mask.resolutions": None,
}


@pytest.fixture
def xl_folder(root: Path, toy_folders: dict[str, Path]) -> Path:
    """A pipeline with two text encoders and two tokenizers."""
    return Path(shutil.copytree(toy_folders["XL"], root / "xl"))


PICTURE = {"name": "picture", "phrases": ["picture"], "synonyms": [], "hyponyms": []}
"""A class that all toy tokenizers know as one token."""


def plan_of(make: Make, **changes: Any) -> Plan:
    section = {"classes": [PICTURE], "images_per_class": 1, **changes}
    return prepare(make({f"expand_prompts.{k}": v for k, v in section.items()}).expand_prompts)


def test_two_tokenizers_that_agree_are_fine(make: Make, root: Path, xl_folder: Path) -> None:
    changes = {"render_storybook.domain": "none", "expand_prompts.templates": ["a {}"]}
    changes |= {"train_reference.labelled_set": "none", "evaluate_segmenter.test_set": "none"}
    run(make(XL | changes | {"expand_prompts.classes": [PICTURE]}), root)
    model = json.loads((root / "data/inputs/model.json").read_text())
    assert (model["pipeline"], len(model["files"])) == ("StableDiffusionXLPipeline", 14)


def test_the_shorter_of_two_tokenizers_is_the_limit(make: Make, xl_folder: Path) -> None:
    config = xl_folder / "tokenizer_2/tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_max_length": 7}))
    model = read_model(xl_folder)
    # start, a, picture, and, an, oak, end
    fitting = plan_of(make, templates=["a {} and an oak"])
    assert prompt_problems(fitting, *read_tokenizers(model)) == []
    (problem,) = prompt_problems(
        plan_of(make, templates=["a {} and an oak dog"]), *read_tokenizers(model)
    )
    assert problem.startswith(
        "expand_prompts.templates: 1 of 1 prompts are too long: the text encoder reads 7 tokens, "
        'start and end included; shorten the templates or phrases of "a picture and an oak dog" (8 '
    )


def test_tokenizers_that_split_a_prompt_differently_are_told(
    make: Make, xl_folder: Path, model_folder: Path
) -> None:
    """To the first "house" is five tokens, its letters; the second knows it as one."""
    shutil.rmtree(xl_folder / "tokenizer_2")
    shutil.copytree(model_folder / "tokenizer", xl_folder / "tokenizer_2")
    model = read_model(xl_folder)
    alike = plan_of(make, templates=["a {}"], negative_prompt="house")
    assert prompt_problems(alike, *read_tokenizers(model)) == []
    (problem,) = prompt_problems(
        plan_of(make, templates=["a {} by a house"]), *read_tokenizers(model)
    )
    assert problem.startswith(
        "sample_images.model: its two tokenizers split 1 of 1 prompts differently, so no column of "
        "attention is the phrase's; choose other words or another model for \"a picture by a hou"
    )
