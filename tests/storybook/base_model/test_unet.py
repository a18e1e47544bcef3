import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from storybook.base_model import unet as module
from storybook.base_model.parts import (
    build_scheduler,
    build_text_encoder,
    build_unet,
    train_tokenizer,
)
from storybook.base_model.unet import add_noise, stratified_timesteps, train_unet


def test_timesteps_cover_every_slice() -> None:
    t = stratified_timesteps(10, torch.Generator().manual_seed(0))
    assert sorted((t // 100).tolist()) == list(range(10))


def test_v_target_and_noise_at_both_ends() -> None:
    clean, noise = torch.full((1, 4, 2, 2), 3.0), torch.full((1, 4, 2, 2), 5.0)
    # Zero terminal SNR: at the last step nothing of the image is left, and v = -x.
    noisy, target = add_noise(build_scheduler(), clean, noise, torch.tensor([999]))
    torch.testing.assert_close(noisy, noise)
    torch.testing.assert_close(target, -clean)
    noisy, target = add_noise(build_scheduler(), clean, noise, torch.tensor([0]))
    a, s = 0.99957491, 0.02915476  # sqrt(1 - 0.00085), sqrt(0.00085)
    torch.testing.assert_close(noisy, torch.full_like(noisy, a * 3 + s * 5), atol=1e-4, rtol=0)
    torch.testing.assert_close(target, torch.full_like(noisy, a * 5 - s * 3), atol=1e-4, rtol=0)


def test_training_learns_stops_and_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = train_tokenizer(["a car"], tmp_path / "tokenizer")
    words = tokenizer(["a car"] * 8, padding="max_length", return_tensors="pt").input_ids
    clock = iter(range(10**6))
    # A second a step, by this module's clock alone: other threads look at the real one.
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))

    def train(minutes: float) -> dict:
        torch.manual_seed(0)
        return train_unet(
            build_unet((32, 32, 32)),
            build_text_encoder(tokenizer),
            build_scheduler(),
            torch.full((8, 4, 16, 16), 0.5).half(),
            words,
            words[0],
            minutes=minutes,
            batch=4,
            rate=1e-3,
            caption_dropout=0.1,
            seed=0,
            compiled=False,
            checkpoint=tmp_path / "unet.pt",
        )

    assert train(5.5 / 60)["steps"] == 6
    with caplog.at_level(logging.INFO):
        record = train(11.5 / 60)
    assert "continuing at step 6" in caplog.text
    assert record["steps"] == 12 and record["images"] == 48
