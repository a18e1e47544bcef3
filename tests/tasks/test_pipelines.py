"""Pipelines are loaded quietly, part by part in the number type asked for, adapter included."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from tasks.adapters import ADAPTER_FILE
from tasks.lora_trainer import Job, Trainer
from tasks.params import Params
from tasks.pipelines import load_pipeline, read_pipeline


def test_parts_have_their_number_types(toy_folders: dict[str, Path]) -> None:
    mixed = {"unet": torch.bfloat16, "default": torch.float32}
    pipeline = read_pipeline(str(toy_folders["XL"]), mixed)
    assert pipeline.unet.dtype == torch.bfloat16
    others = (pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2)
    assert {part.dtype for part in others} == {torch.float32}


def test_an_adapter_is_on_at_its_scale_and_off_at_none(
    toy_folders: dict[str, Path],
    make_job: Callable[..., Job],
    make_params: Callable[..., Params],
    tmp_path: Path,
) -> None:
    trainer = Trainer(make_job(), "cpu", tmp_path)
    trainer.step(0)
    trainer.adapter.save(type(trainer.pipeline), tmp_path)
    changes = {"sample_images.model": str(toy_folders["1.x"]), "sample_images.dtype": "bfloat16"}
    section = make_params(changes).sample_images

    def scales(*adapter: Any) -> set[float]:
        unet = load_pipeline(section, "cpu", Path(), *adapter).unet
        assert {weight.dtype for weight in unet.parameters()} == {torch.bfloat16}
        layers = [layer for layer in unet.modules() if hasattr(layer, "scaling")]
        return {scale for layer in layers for scale in layer.scaling.values()}

    assert scales() == set()
    assert scales(tmp_path / ADAPTER_FILE, 0.0) == set()
    assert scales(tmp_path / ADAPTER_FILE, 0.5) == {0.5 * 6 / 4}  # alpha / rank


def test_loading_says_nothing_and_leaves_the_libraries_as_they_were(
    toy_folders: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    before = diffusers.utils.logging.get_verbosity()
    read_pipeline(str(toy_folders["1.x"]), torch.float32)
    assert capfd.readouterr() == ("", "")
    assert diffusers.utils.logging.get_verbosity() == before
