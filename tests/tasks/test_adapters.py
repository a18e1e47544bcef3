"""An adapter that does not fit is refused by its headers alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tasks.adapters import ADAPTER_FILE, adapter_problems, base_problem, find_adapter, read_shapes
from tasks.base_models import BaseModel, read_model
from tasks.params import InputError

LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
Shapes = dict[str, tuple[int, ...]]


@pytest.fixture(scope="module")
def model(toy_folders: dict[str, Path]) -> BaseModel:
    """Its layer's query takes 8 channels to 8, its key 32 of the text to 8."""
    return read_model(toy_folders["1.x"])


def write(file: Path, shapes: Shapes) -> Path:
    save_file({key: np.zeros(shape, np.float32) for key, shape in shapes.items()}, file)
    return file


def peft(projection: str, inputs: int, outputs: int, layer: str = LAYER) -> Shapes:
    name = f"unet.{layer}.{projection}"
    return {f"{name}.lora_A.weight": (4, inputs), f"{name}.lora_B.weight": (outputs, 4)}


def test_shapes_are_read_from_the_header(tmp_path: Path) -> None:
    shapes: Shapes = {"b": (2, 3), "a": (1,)}
    assert read_shapes(write(tmp_path / "x.safetensors", shapes)) == shapes


@pytest.mark.parametrize(
    "shapes",
    [
        peft("to_q", 8, 8) | peft("to_k", 32, 8) | peft("to_out.0", 8, 8),
        {
            f"unet.{LAYER}.to_k.lora.down.weight": (4, 32),
            f"unet.{LAYER}.to_k.lora.up.weight": (8, 4),
        },
        {
            f"unet.{LAYER}.processor.to_k_lora.down.weight": (4, 32),
            f"unet.{LAYER}.processor.to_out_lora.up.weight": (8, 4),
        },
        peft("to_k", 32, 8) | {"text_encoder.layers.0.q.lora_A.weight": (4, 99)},
        peft("to_k", 32, 8) | {f"unet.{LAYER}.to_k.alpha": ()},
    ],
)
def test_adapters_of_this_architecture_are_fine(
    shapes: Shapes, model: BaseModel, tmp_path: Path
) -> None:
    assert adapter_problems(write(tmp_path / "x.safetensors", shapes), model) == []


@pytest.mark.parametrize(
    ("shapes", "named"),
    [
        (peft("to_k", 768, 8), f"unet.{LAYER}.to_k.lora_A.weight (768 inputs, not 32)"),
        (peft("to_k", 32, 320), f"unet.{LAYER}.to_k.lora_B.weight (320 outputs, not 8)"),
        (
            peft("to_q", 8, 8, "down_blocks.9.attn1"),
            "unet.down_blocks.9.attn1.to_q.lora_A.weight (no such layer), "
            "unet.down_blocks.9.attn1.to_q.lora_B.weight (no such layer)",
        ),
        (
            {f"unet.{LAYER}.processor.to_out_lora.down.weight": (4, 9)},
            f"unet.{LAYER}.processor.to_out_lora.down.weight (9 inputs, not 8)",
        ),
    ],
)
def test_adapters_of_another_architecture_are_named_with_their_layers(
    shapes: Shapes, named: str, model: BaseModel, tmp_path: Path
) -> None:
    file = write(tmp_path / "x.safetensors", peft("to_q", 8, 8) | shapes)
    assert adapter_problems(file, model) == [
        f"adapt_lora.adapter: {file} is for another architecture than {model.folder}: {named}; "
        "choose an adapter that was made for this base model"
    ]


def test_other_formats_and_broken_files_are_refused(model: BaseModel, tmp_path: Path) -> None:
    file = write(tmp_path / "x.safetensors", {"lora_unet_down_0_to_q.lora_down.weight": (4, 8)})
    (problem,) = adapter_problems(file, model)
    assert problem == (
        f"adapt_lora.adapter: {file} holds no LoRA weights of a UNet in diffusers' format "
        "(lora_unet_down_0_to_q.lora_down.weight, say); convert it with load_lora_weights and "
        "save_lora_weights"
    )
    write(file, peft("to_k", 32, 8))
    file.write_bytes(file.read_bytes()[:-10])
    (problem,) = adapter_problems(file, model)
    assert problem.startswith(f"adapt_lora.adapter: {file} is cut short: ")
    file.write_text("version https://git-lfs.github.com/spec/v1")
    assert "is a Git LFS pointer, not the file" in adapter_problems(file, model)[0]


def test_a_file_or_the_one_in_a_folder_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    only = write(folder / "street.safetensors", {"a": (1,)})
    assert find_adapter("own/street.safetensors", tmp_path) == only
    assert find_adapter("own", tmp_path) == only
    write(folder / "other.safetensors", {"a": (1,)})
    with pytest.raises(InputError, match=r"own holds 2 safetensors files; give a folder with pyto"):
        find_adapter("own", tmp_path)
    usual = write(folder / ADAPTER_FILE, {"a": (1,)})
    assert find_adapter("own", tmp_path) == usual


@pytest.mark.parametrize(
    ("adapter", "expected"),
    [
        ("nowhere", "adapt_lora.adapter: {root}/nowhere does not exist; give none, train, or a f"),
        ("x.bin", "adapt_lora.adapter: {root}/x.bin is no safetensors file, and pickles are not"),
        ("empty", "adapt_lora.adapter: {root}/empty holds 0 safetensors files"),
    ],
)
def test_what_is_no_adapter_is_refused(tmp_path: Path, adapter: str, expected: str) -> None:
    (tmp_path / "x.bin").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        find_adapter(adapter, tmp_path)
    assert str(caught.value).startswith(expected.format(root=tmp_path))


def test_the_record_beside_an_adapter_names_its_base(tmp_path: Path) -> None:
    file, beside = tmp_path / "x.safetensors", tmp_path / "adapter.json"
    assert base_problem(file, "a" * 64) is None
    for record in ({"base": "a" * 64}, {"source": "elsewhere"}):
        beside.write_text(json.dumps(record))
        assert base_problem(file, "a" * 64) is None
    beside.write_text(json.dumps({"base": "b" * 64}))
    assert base_problem(file, "a" * 64) == (
        f"adapt_lora.adapter: {file} was made for another base model: {beside} names the digest "
        "bbbbbbbbbbbb..., and sample_images.model has aaaaaaaaaaaa...; choose that model, or train "
        "an adapter for this one"
    )
    for broken in ("{", "[]", "\xff"):
        beside.write_text(broken, encoding="latin-1")
        assert f"{beside} cannot be read" in str(base_problem(file, "a" * 64))
