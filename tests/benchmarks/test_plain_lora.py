from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from benchmarks.lora_step import QUICK, Case, written
from benchmarks.plain_lora import PlainLoop
from tasks.lora_batches import split
from tasks.lora_trainer import Trainer

STORYBOOK, TINY = QUICK
CASES = pytest.mark.parametrize("case", QUICK, ids=lambda case: case.title)


@contextmanager
def both(case: Case) -> Iterator[tuple[PlainLoop, Trainer]]:
    """The two ways in float32, where their sums differ by rounding alone, at the full rate."""
    with written(case) as job:
        exact = replace(
            job, section=job.section.model_copy(update={"dtype": "float32", "warmup": 0})
        )
        yield PlainLoop(exact), Trainer(exact, "cpu", job.images[0].path.parent)


@CASES
def test_the_same_batches_have_the_same_losses(case: Case) -> None:
    with both(case) as (plain, trainer):
        for step in range(3):
            (batch,) = trainer.data.draw(step)
            assert len(batch) == case.batch_size
            loss = plain.learn(step, batch.latents, batch.noise, batch.timesteps, batch.text)
            torch.testing.assert_close(loss, trainer.step(step), rtol=1e-4, atol=0)


def test_the_same_batches_make_the_same_adapter() -> None:
    with both(STORYBOOK) as (plain, trainer):
        start = trainer.adapter.state()
        torch.testing.assert_close(plain.adapter.state(), start, rtol=0, atol=0)
        for step in range(3):
            (batch,) = trainer.data.draw(step)
            plain.learn(step, batch.latents, batch.noise, batch.timesteps, batch.text)
            trainer.step(step)
    made = trainer.adapter.state()
    for name, weights in plain.adapter.state().items():
        moved = (made[name] - start[name]).abs().mean()
        assert moved > 1e-4
        assert (weights - made[name]).abs().mean() < 0.01 * moved


@CASES
def test_what_is_encoded_every_step_is_what_is_cached(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    mean = DiagonalGaussianDistribution.mode
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", mean)
    with both(case) as (plain, trainer):
        latents, text = plain.encode(torch.arange(case.images))
    section, images = trainer.section, trainer.job.images
    rows, _ = split(range(case.images), section.held_out(case.images), section.seed)
    assert len(rows) == len(trainer.data.examples) == 3
    for row, example in zip(rows, trainer.data.examples, strict=True):
        torch.testing.assert_close(latents[row], example.latents[0], rtol=1e-4, atol=1e-5)
    cached, _ = trainer.texts.pick([image.caption for image in images])
    torch.testing.assert_close(text, cached, rtol=1e-4, atol=1e-5)


def test_latents_are_drawn_from_the_posterior() -> None:
    with written(TINY) as job:
        plain = PlainLoop(job)
    rows = torch.arange(2)
    assert not torch.equal(plain.encode(rows)[0], plain.encode(rows)[0])


def test_each_step_encodes_its_batch_and_a_cached_one_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with both(STORYBOOK) as (plain, trainer):
        pass
    encode, seen = plain.vae.encode, []
    monkeypatch.setattr(plain.vae, "encode", lambda x: seen.append(x.shape) or encode(x))
    texts = []
    plain.text_encoder.register_forward_pre_hook(lambda _, args: texts.append(args[0].shape))
    monkeypatch.setattr(trainer.pipeline.vae, "encode", None)
    for step in range(2):
        plain.step(step)
        trainer.step(step)
    assert seen == [(2, 3, 64, 64)] * 2
    assert texts == [(2, 20)] * 2
    assert trainer.pipeline.text_encoder is None


def test_the_networks_are_in_the_recipes_type_and_attention_is_the_default() -> None:
    with written(TINY) as job:
        plain = PlainLoop(job)
    assert {network.dtype for network in (plain.vae, plain.text_encoder)} == {torch.bfloat16}
    types = {name: weight.dtype for name, weight in plain.unet.named_parameters()}
    assert {types.pop(name) for name in plain.adapter.parameters} == {torch.float32}
    assert set(types.values()) == {torch.bfloat16}
    assert {type(one) for one in plain.unet.attn_processors.values()} == {AttnProcessor2_0}
