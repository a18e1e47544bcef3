"""Pipelines are loaded quietly, part by part in the number type asked for, adapter included."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import diffusers
import pytest
import torch
from safetensors.torch import load_file

from tasks.adapters import ADAPTER_FILE
from tasks.lora_trainer import Job, Trainer
from tasks.params import Params, Scheduler
from tasks.pipelines import SCHEDULERS, load_pipeline, read_pipeline


def test_parts_have_their_number_types(toy_folders: dict[str, Path]) -> None:
    mixed = {"unet": torch.bfloat16, "default": torch.float32}
    pipeline = read_pipeline(str(toy_folders["XL"]), mixed)
    assert pipeline.unet.dtype == torch.bfloat16
    others = (pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2)
    assert {part.dtype for part in others} == {torch.float32}


def test_nothing_is_written_into_the_pixels(
    toy_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the library for XL's watermark is installed."""
    module = "diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl"
    monkeypatch.setattr(f"{module}.is_invisible_watermark_available", lambda: True)
    monkeypatch.setattr(f"{module}.StableDiffusionXLWatermarker", object, raising=False)
    assert read_pipeline(str(toy_folders["XL"]), torch.float32).watermark is None


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

    def weights(*adapter: Any) -> dict[str, torch.Tensor]:
        unet = load_pipeline(section, "cpu", Path(), *adapter).unet
        assert {weight.dtype for weight in unet.parameters()} == {torch.bfloat16}
        return dict(unet.named_parameters())

    file = tmp_path / ADAPTER_FILE
    base, off, half = weights(), weights(file, 0.0), weights(file, 0.5)
    assert base.keys() == off.keys() == half.keys()  # nothing is computed beside the base
    assert all(torch.equal(base[name], off[name]) for name in base)
    learnt = load_file(file)
    name = next(key for key in learnt if key.endswith("attn2.to_q.lora_B.weight"))
    update = learnt[name] @ learnt[name.replace("lora_B", "lora_A")]
    layer = name.removeprefix("unet.").replace(".lora_B", "")
    expected = base[layer].float() + 0.5 * 6 / 4 * update  # scale, alpha / rank
    torch.testing.assert_close(half[layer].float(), expected, rtol=2**-7, atol=1e-6)
    assert not torch.equal(half[layer], base[layer])


def test_loading_says_nothing_and_leaves_the_libraries_as_they_were(
    toy_folders: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    before = diffusers.utils.logging.get_verbosity()
    read_pipeline(str(toy_folders["1.x"]), torch.float32)
    assert capfd.readouterr() == ("", "")
    assert diffusers.utils.logging.get_verbosity() == before


def test_every_scheduler_of_the_parameters_is_there() -> None:
    assert {"model", *SCHEDULERS} == set(get_args(Scheduler))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_takes_over_what_the_model_was_trained_with(
    name: str, make_params: Callable[..., Params]
) -> None:
    """storybook's model predicts v at noise levels whose last one is noise alone."""
    own = load_pipeline(make_params({"sample_images.scheduler": "model"}).sample_images, "cpu")
    chosen = load_pipeline(make_params({"sample_images.scheduler": name}).sample_images, "cpu")
    assert type(own.scheduler) is diffusers.DDIMScheduler
    assert type(chosen.scheduler) is SCHEDULERS[name]
    kept = ("prediction_type", "beta_schedule", "rescale_betas_zero_snr", "timestep_spacing")
    for key in kept:
        assert chosen.scheduler.config[key] == own.scheduler.config[key], key


def test_second_order_schedulers_need_fewer_steps(
    make_params: Callable[..., Params],
) -> None:
    """From the same noise, UniPC's 8 steps come nearer to where 100 of DDIM lead than DDIM's 8."""

    def sample(name: str, steps: int) -> torch.Tensor:
        changes = {"sample_images.scheduler": name, "sample_images.dtype": "float32"}
        pipeline = load_pipeline(make_params(changes).sample_images, "cpu")
        generators = [torch.Generator().manual_seed(seed) for seed in range(4)]
        return pipeline(
            ["a car", "a tree", "a house", "a flower"],
            height=64,
            width=64,
            num_inference_steps=steps,
            guidance_scale=1.0,
            generator=generators,
            output_type="pt",
        ).images

    exact = sample("ddim", 100)
    away = {name: (sample(name, 8) - exact).square().mean() for name in ("ddim", "unipc", "dpm")}
    assert away["unipc"] < 0.5 * away["ddim"]  # 0.4, and DPM-Solver++ 0.66
    assert away["dpm"] < 0.8 * away["ddim"]
