"""A training in memory, of all families: what it changes, what it leaves, what it writes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor
from safetensors import safe_open
from torch import Tensor

from tasks import lora_trainer
from tasks.adapters import ADAPTER_FILE
from tasks.lora_trainer import Job, Trainer, learning_rate, writes_attention_out
from tasks.params import InputError
from tasks.pipelines import read_pipeline

MakeJob = Callable[..., Job]
KINDS = ("1.x", "2.x", "XL")


def said(pipeline: DiffusionPipeline, kind: str) -> Tensor:
    """What the UNet says of fixed latents."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 8, 8, generator=generator)
    width = pipeline.unet.config.cross_attention_dim
    text = torch.randn(2, 77, width, generator=generator)
    added = {"text_embeds": torch.ones(2, 32), "time_ids": torch.ones(2, 6)}
    with torch.no_grad():
        output: Tensor = pipeline.unet(
            latents,
            torch.tensor([10, 500]),
            encoder_hidden_states=text,
            added_cond_kwargs=added if kind == "XL" else None,
        ).sample
    return output


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained_is_what_diffusers_loads(
    kind: str, make_job: MakeJob, tmp_path: Path
) -> None:
    """With alpha other than rank, which the file must tell."""
    job = make_job(kind)
    base = read_pipeline(job.model, torch.float32)
    trainer = Trainer(job, "cpu", tmp_path)
    untouched = {
        name: value.clone()
        for name, value in trainer.pipeline.unet.state_dict().items()
        if "lora" not in name
    }
    torch.testing.assert_close(said(trainer.pipeline, kind), said(base, kind))
    losses = [trainer.step(step) for step in range(3)]
    assert all(0 < float(loss) < 10 for loss in losses)
    trained = said(trainer.pipeline, kind)
    assert (trained - said(base, kind)).abs().max() > 1e-3

    after = trainer.pipeline.unet.state_dict()
    assert all(torch.equal(after[name], value) for name, value in untouched.items())
    trainer.adapter.save(type(trainer.pipeline), tmp_path)
    base.load_lora_weights(tmp_path, weight_name=ADAPTER_FILE)
    torch.testing.assert_close(said(base, kind), trained, rtol=1e-4, atol=1e-5)


def test_the_file_is_the_same_whatever_the_hash_seed(make_job: MakeJob, tmp_path: Path) -> None:
    trainer = Trainer(make_job(layers=["cross"], targets=["to_v", "to_q"]), "cpu", tmp_path)
    trainer.adapter.save(type(trainer.pipeline), tmp_path)
    with safe_open(tmp_path / ADAPTER_FILE, "pt") as file:
        said = json.loads(file.metadata()["lora_adapter_metadata"])
        names = list(file.keys())
    assert said["unet.target_modules"] == ["attn2.to_q", "attn2.to_v"]
    assert (said["unet.r"], said["unet.lora_alpha"]) == (4, 6.0)
    assert all("attn2" in name and name.startswith("unet.") for name in names)
    assert {name.split("attn2.")[1] for name in names} == {
        f"{part}.lora_{side}.weight" for part in ("to_q", "to_v") for side in "AB"
    }


def test_the_frozen_base_has_its_dtype_and_the_adapter_float32(
    make_job: MakeJob, tmp_path: Path
) -> None:
    trainer = Trainer(make_job(dtype="bfloat16"), "cpu", tmp_path)
    dtypes = {
        name.rpartition("lora_")[1]: value.dtype
        for name, value in trainer.pipeline.unet.named_parameters()
    }
    assert dtypes == {"": torch.bfloat16, "lora_": torch.float32}
    frozen = [p for n, p in trainer.pipeline.unet.named_parameters() if "lora_" not in n]
    assert not any(weight.requires_grad for weight in frozen)
    assert float(trainer.step(0)) > 0
    assert all(weight.dtype == torch.float32 for weight in trainer.adapter.state().values())


def gradients(job: Job, root: Path) -> dict[str, Tensor]:
    """Of the first step, clipped, with an adapter that does something.

    Not the weights after it: Adam makes much of gradients that are next to nothing.
    """
    trainer = Trainer(job, "cpu", root)
    generator = torch.Generator().manual_seed(0)
    for weight in trainer.weights:
        weight.data = torch.randn(weight.shape, generator=generator) / 10
    found: dict[str, Tensor] = {}
    trainer.optimizer.step = lambda: found.update(  # type: ignore[method-assign]
        {name: weight.grad.clone() for name, weight in trainer.adapter.parameters.items()}
    )
    trainer.step(0)
    return found


def assert_alike(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    # One position attends to itself, whatever its query and key say.
    assert sum(bool(value.any()) for value in one.values()) > 0.8 * len(one)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 2, "gradient_accumulation": 2},
        {"batch_size": 4, "gradient_checkpointing": True},
    ],
)
def test_less_memory_leads_to_the_same_gradients(
    changes: dict[str, object], make_job: MakeJob, tmp_path: Path
) -> None:
    large = gradients(make_job(batch_size=4, snr_gamma=5.0), tmp_path)
    assert_alike(gradients(make_job(snr_gamma=5.0, **changes), tmp_path), large)


@pytest.mark.parametrize(
    ("dtype", "device", "positions", "expected"),
    [
        ("bfloat16", "cpu", 256, True),
        ("bfloat16", "cpu", 4096, False),
        ("bfloat16", "cuda:0", 256, False),
        ("float32", "cpu", 256, False),
    ],
)
def test_attention_is_written_out_where_that_is_faster(
    dtype: str, device: str, positions: int, expected: bool
) -> None:
    assert writes_attention_out(dtype, device, positions) is expected


def test_attention_written_out_is_the_fused_one(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job()
    fused = gradients(job, tmp_path)
    monkeypatch.setattr(lora_trainer, "writes_attention_out", lambda *_: True)
    processors = Trainer(job, "cpu", tmp_path).pipeline.unet.attn_processors.values()
    assert {type(processor) for processor in processors} == {AttnProcessor}
    assert_alike(gradients(job, tmp_path), fused)


@pytest.mark.parametrize(
    "changes",
    [
        {"snr_gamma": 1.0},
        {"noise_offset": 0.1},
        {"seed": 1},
        {"caption_dropout": 1.0},
        {"framing": "buckets"},
        {"prior_share": 0.5, "prior_images": 2},
    ],
)
def test_the_recipe_is_followed(
    changes: dict[str, object], make_job: MakeJob, tmp_path: Path
) -> None:
    plain, other = (gradients(make_job(**values), tmp_path) for values in ({}, changes))
    assert any(not torch.equal(value, other[name]) for name, value in plain.items())


def test_prior_images_are_the_base_models_own(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(prior_share=0.5, prior_images=3, prior_template="a picture of a {}")
    prior = Trainer(job, "cpu", tmp_path).data.prior
    assert [example.caption for example in prior] == [
        "a picture of a dog",
        "a picture of an oak",
        "a picture of a dog",
    ]
    assert [example.latents.shape for example in prior] == [(1, 4, 8, 8)] * 3
    assert not torch.equal(prior[0].latents, prior[2].latents)
    again = Trainer(job, "cpu", tmp_path).data.prior
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(prior, again, strict=True))


def test_the_held_out_loss_is_of_images_that_are_not_trained_on(
    make_job: MakeJob, tmp_path: Path
) -> None:
    trainer = Trainer(make_job(val_share=0.4), "cpu", tmp_path)
    trained_on = {example.latents.numpy().tobytes() for example in trainer.data.examples}
    assert (len(trainer.data.examples), len(trained_on)) == (3, 3)
    rows = torch.cat([batch.latents for batch in trainer.held_out])
    windows = {window.numpy().tobytes() for e in trainer.data.examples for window in e.latents}
    assert len(rows) == 64 and not windows & {row.numpy().tobytes() for row in rows}
    before = trainer.held_out_loss()
    assert trainer.held_out_loss() == before
    for step in range(4):
        trainer.step(step)
    assert trainer.held_out_loss() != before


def test_only_the_network_stays_where_it_is_trained(make_job: MakeJob, tmp_path: Path) -> None:
    """The text encoders are let go; the autoencoder comes back for the sheets alone."""
    trainer = Trainer(make_job("XL"), "cpu", tmp_path)
    assert trainer.pipeline.text_encoder is None and trainer.pipeline.text_encoder_2 is None
    trainer.draw_sheet(tmp_path / "sheets/sheet.png")
    assert (tmp_path / "sheets/sheet.png").is_file()


def test_the_rate_rises_and_falls_to_nothing(make_job: MakeJob) -> None:
    section = make_job(warmup=4, steps=100, learning_rate=0.1).section
    rates = [learning_rate(section, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.025) and rates[1] == pytest.approx(0.05, rel=1e-3)
    assert rates[50] == pytest.approx(0.05)
    assert max(rates) == rates[3] and 0 < rates[-1] < 1e-4
    unwarmed = make_job(warmup=0, steps=100, learning_rate=0.1).section
    assert learning_rate(unwarmed, 0) == 0.1


def test_captions_that_are_cut_off_stop_the_training(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(prior_share=0.5, prior_template="{} " + "a " * 80)
    with pytest.raises(InputError, match=r"adapt_lora\.prior_template: the text encoder reads 77"):
        Trainer(job, "cpu", tmp_path)
