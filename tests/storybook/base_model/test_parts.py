from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from storybook.base_model.parts import (
    build_autoencoder,
    build_scheduler,
    build_text_encoder,
    build_unet,
    train_tokenizer,
)


def sample(pipeline: StableDiffusionPipeline) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(5)
    images: torch.Tensor = pipeline(
        "a dog", num_inference_steps=2, generator=generator, output_type="pt"
    ).images
    return images


def test_the_model_is_saved_and_loaded_like_any_other(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a red dog on grass"], tmp_path / "words")
    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline(
        vae=build_autoencoder(),
        text_encoder=build_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=build_unet((32, 32, 32)),
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(tmp_path / "model")
    loaded = StableDiffusionPipeline.from_pretrained(tmp_path / "model", safety_checker=None)
    assert isinstance(loaded.scheduler, DDIMScheduler)
    assert loaded.tokenizer("a zebra").input_ids == tokenizer("a zebra").input_ids
    assert torch.equal(sample(loaded), sample(pipeline))
