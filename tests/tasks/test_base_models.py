"""Facts of a model folder, and what is said of one that cannot be used."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from diffusers import DiffusionPipeline

from tasks.attention import trace_cross_attention, trace_self_attention
from tasks.base_models import BaseModel, find_model, model_files, read_model
from tasks.params import InputError


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_facts_of_a_tiny_model(model_folder: Path) -> None:
    assert read_model(model_folder) == BaseModel(
        folder=model_folder,
        pipeline="StableDiffusionPipeline",
        text_length=20,
        pixel_step=8,
        vae_factor=4,
        attention_levels=(0, 1, 2),
    )


CROSS, PLAIN = "CrossAttn{}Block2D", "{}Block2D"
FAMILIES = {
    "1.5": ([CROSS, CROSS, CROSS, PLAIN], 512, [64, 32, 16, 8]),
    "2.1": ([CROSS, CROSS, CROSS, PLAIN], 768, [96, 48, 24, 12]),
    "XL": ([PLAIN, CROSS, CROSS], 1024, [64, 32]),
}
"""Blocks on the way down, native side in pixels and sides of the attention maps."""


@pytest.mark.parametrize(("blocks", "side", "sides"), FAMILIES.values(), ids=list(FAMILIES))
def test_attention_of_the_known_models(
    model_folder: Path, blocks: list[str], side: int, sides: list[int]
) -> None:
    rewrite(model_folder / "vae/config.json", block_out_channels=[128, 256, 512, 512])
    rewrite(
        model_folder / "unet/config.json",
        down_block_types=[block.format("Down") for block in blocks],
        up_block_types=[block.format("Up") for block in reversed(blocks)],
    )
    model = read_model(model_folder)
    assert (model.vae_factor, model.pixel_step) == (8, 8)
    assert model.attention_resolutions(side, side) == sides
    assert model.attention_resolutions(side, side // 2) == sides
    odd = {512: [60, 30, 15, 8], 768: [60, 30, 15, 8], 1024: [30, 15]}
    assert model.attention_resolutions(360, 480) == odd[side]


@pytest.mark.parametrize("kind", ["1.x", "2.x", "XL"])
def test_attention_is_where_the_network_has_it(toy_folders: dict[str, Path], kind: str) -> None:
    """The sides by the configuration are those that are traced, of both kinds of attention."""
    model = read_model(toy_folders[kind])
    pipe = DiffusionPipeline.from_pretrained(toy_folders[kind])
    pipe.set_progress_bar_config(disable=True)
    sides = model.attention_resolutions(72, 104)
    assert sides == {"1.x": [13, 7, 4, 2], "2.x": [13, 7, 4, 2], "XL": [7, 4]}[kind]
    with ExitStack() as traces:
        cross = traces.enter_context(trace_cross_attention(pipe.unet, [[[2]]], [0]))
        own = [traces.enter_context(trace_self_attention(pipe.unet, 1, 0, side)) for side in sides]
        pipe("a dog", height=72, width=104, num_inference_steps=1, output_type="latent")
    assert [max(size) for size in cross.maps()] == sides[::-1]
    assert [trace.matrix()[0] for trace in own] == list(cross.maps())[::-1]


def test_a_pipeline_with_two_text_encoders(toy_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "xl"
    shutil.copytree(toy_folders["XL"], folder)
    assert read_model(folder) == BaseModel(
        folder=folder,
        pipeline="StableDiffusionXLPipeline",
        text_length=77,
        pixel_step=8,
        vae_factor=8,
        attention_levels=(1, 2),
    )
    files = {path.relative_to(folder).as_posix() for path in model_files(read_model(folder))}
    assert {"text_encoder_2/model.safetensors", "tokenizer_2/tokenizer.json"} <= files
    rewrite(folder / "text_encoder_2/config.json", max_position_embeddings=64)
    assert read_model(folder).text_length == 64
    shutil.rmtree(folder / "tokenizer_2")
    (folder / "text_encoder_2/model.safetensors").unlink()
    with pytest.raises(InputError) as caught:
        read_model(folder)
    assert "text_encoder_2/ holds no model.safetensors" in str(caught.value)
    assert "the part tokenizer_2/ is missing" in str(caught.value)


def test_a_network_without_cross_attention_has_no_maps(model_folder: Path) -> None:
    rewrite(
        model_folder / "unet/config.json",
        down_block_types=["DownBlock2D"],
        up_block_types=["UpBlock2D"],
        mid_block_type=None,
    )
    assert read_model(model_folder).attention_resolutions(64, 64) == []


def test_a_path_or_an_id_in_the_hub_s_cache_is_found(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_model(str(model_folder)) == model_folder
    assert find_model("model", root=tmp_path) == tmp_path / "model"
    calls = []

    def look(repo_id: str, filename: str) -> str | None:
        calls.append((repo_id, filename))
        return str(model_folder / filename) if repo_id == "some-body/sd-1.5" else None

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", look)
    assert find_model("some-body/sd-1.5") == model_folder
    with pytest.raises(InputError, match="some-body/other is neither a folder nor a model in the"):
        find_model("some-body/other")
    assert calls == [
        ("some-body/sd-1.5", "model_index.json"),
        ("some-body/other", "model_index.json"),
    ]


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="model: /no/such/model is neither a folder"):
        find_model("/no/such/model")
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(InputError, match="is a file; give a folder in diffusers format"):
        find_model("model.safetensors", root=tmp_path)


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model_index.json does not exist; .* diffusers format"):
        read_model(tmp_path)
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(InputError, match=r"model_index.json cannot be read"):
        read_model(tmp_path)


def test_a_transformer_is_refused(model_folder: Path) -> None:
    rewrite(
        model_folder / "model_index.json",
        _class_name="StableDiffusion3Pipeline",
        transformer=["diffusers", "SD3Transformer2DModel"],
    )
    expected = (
        "holds a StableDiffusion3Pipeline: its backbone is a transformer, whose attention cannot "
        "be read; supported are StableDiffusionPipeline and StableDiffusionXLPipeline "
        r"\(Stable Diffusion 1.x, 2.x, XL\)"
    )
    with pytest.raises(InputError, match=expected):
        read_model(model_folder)


def test_all_that_a_folder_lacks_is_listed(model_folder: Path) -> None:
    unet = model_folder / "unet/diffusion_pytorch_model.safetensors"
    whole = unet.read_bytes()
    unet.write_bytes(whole[:-1])
    (model_folder / "vae/diffusion_pytorch_model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    )
    (model_folder / "text_encoder/model.safetensors").rename(model_folder / "text_encoder/x.bin")
    (model_folder / "scheduler/scheduler_config.json").unlink()
    (model_folder / "scheduler").rmdir()
    with pytest.raises(InputError) as caught:
        read_model(model_folder)
    message = str(caught.value)
    assert f"is cut short: {len(whole) - 1} of {len(whole)} bytes" in message
    assert "vae/diffusion_pytorch_model.safetensors is a Git LFS pointer" in message
    assert "text_encoder/ holds no model.safetensors (pickles are not loaded)" in message
    assert "the part scheduler/ is missing" in message


@pytest.mark.parametrize("content", [b"", b"not a safetensors file", b"\2\0\0\0\0\0\0\0[]"])
def test_weights_that_are_none_are_refused(model_folder: Path, content: bytes) -> None:
    (model_folder / "unet/diffusion_pytorch_model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"unet/diffusion_pytorch_model.safetensors is"):
        read_model(model_folder)


def test_a_model_is_what_is_loaded_of_it(model_folder: Path) -> None:
    (model_folder / "README.md").write_text("read me")
    (model_folder / "unet/diffusion_pytorch_model.bin").write_text("pickle")
    (model_folder / "unet/diffusion_pytorch_model.fp16.safetensors").write_text("variant")
    (model_folder / "safety_checker").mkdir()
    (model_folder / "safety_checker/config.json").write_text("{}")
    files = model_files(read_model(model_folder))
    assert sorted(path.relative_to(model_folder).as_posix() for path in files) == [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ]


def number_weights(unet: Path, numbers: tuple[int, ...], count: int) -> None:
    """Let the UNet's weights stand in some of ``count`` numbered files."""
    weights = unet / "diffusion_pytorch_model.safetensors"
    for number in numbers:
        part = unet / f"diffusion_pytorch_model-{number:05}-of-{count:05}.safetensors"
        part.write_bytes(weights.read_bytes())
    weights.unlink()


def test_numbered_weights_count(model_folder: Path) -> None:
    unet = model_folder / "unet"
    number_weights(unet, (1, 2), 2)
    parts = [unet / f"diffusion_pytorch_model-0000{number}-of-00002" for number in (1, 2)]
    for part in parts:  # a variant beside them, which is not loaded
        Path(f"{part}.fp16.safetensors").write_bytes(b"another")
    found = [path for path in model_files(read_model(model_folder)) if path.parent == unet]
    assert found == [unet / "config.json", *(Path(f"{part}.safetensors") for part in parts)]


def test_a_numbered_file_that_is_missing_is_named(model_folder: Path) -> None:
    number_weights(model_folder / "unet", (1, 3), 3)
    with pytest.raises(InputError) as caught:
        read_model(model_folder)
    assert (
        "is not whole: unet/diffusion_pytorch_model-00002-of-00003.safetensors is missing; copy"
    ) in str(caught.value)
