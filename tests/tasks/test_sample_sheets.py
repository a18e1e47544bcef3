"""Samples of a model in training are those of its pipeline."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tasks import sample_sheets
from tasks.encoding import encode_texts
from tasks.pipelines import read_pipeline
from tasks.sample_sheets import decode_latents, sample_latents, sheet


@pytest.mark.parametrize("kind", ["1.x", "2.x", "XL"])
def test_samples_are_the_pipelines(
    kind: str, toy_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its text encoders gone, image by image the same whatever the batch."""
    monkeypatch.setattr(sample_sheets, "STEPS", 2)
    pipeline = read_pipeline(str(toy_folders[kind]), torch.float32)
    captions, seeds = ["a dog", "an oak", "a dog"], [5, 6, 7]
    expected = pipeline(
        captions,
        negative_prompt=None,  # the model's own way to say nothing
        height=64,
        width=96,
        num_inference_steps=2,
        guidance_scale=sample_sheets.GUIDANCE,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="np",
    ).images
    texts = encode_texts(pipeline, captions, torch.float32, "cpu")
    latents = sample_latents(pipeline, texts, captions, seeds, (64, 96), 2, "cpu")
    assert latents.shape == (3, 4, 8, 12) and latents.dtype == torch.float32
    images = decode_latents(pipeline.vae, latents, "cpu")
    assert images.dtype == np.uint8
    assert np.abs(images - expected * 255).max() < 1


def test_a_sheet_has_a_caption_a_row() -> None:
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((6, 2, 3, 3), np.uint8)
    found = sheet(images, 3)
    assert found.shape == (4, 9, 3)
    assert found[::2, ::3, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
