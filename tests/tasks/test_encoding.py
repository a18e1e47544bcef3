"""Images and captions are encoded as the pipelines do it, each once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.encoding import encode_examples, encode_images, encode_texts
from tasks.lora_trainer import Job
from tasks.pipelines import read_pipeline
from tasks.reference_images import read_image

ROOT = Path(__file__).parents[2]
STORYBOOK = ROOT / "models/storybook-sd"

MakeJob = Callable[..., Job]


def pictures(count: int, height: int = 64, width: int = 64) -> np.ndarray:
    shape = (count, height, width, 3)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("tiny", [True, False])
def test_latents_are_those_that_the_network_sees(tiny: bool, toy_folders: dict[str, Path]) -> None:
    """By the pipelines' own image processor and autoencoder; more images than fit a batch."""
    pipeline = read_pipeline(str(STORYBOOK if tiny else toy_folders["1.x"]), torch.float32)
    images = pictures(11)
    latents = encode_images(pipeline.vae, images, "cpu")
    pixels = pipeline.image_processor.preprocess(images / 255).float()
    with torch.no_grad():
        encoded = pipeline.vae.encode(pixels)
    expected = encoded.latents if tiny else encoded.latent_dist.mean
    assert latents.shape == ((11, 4, 16, 16) if tiny else (11, 4, 8, 8))
    scaled = expected * pipeline.vae.config.scaling_factor
    torch.testing.assert_close(latents, scaled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["1.x", "2.x", "XL"])
def test_each_caption_is_encoded_once_as_the_pipeline_does_it(
    kind: str, toy_folders: dict[str, Path]
) -> None:
    pipeline = read_pipeline(str(toy_folders[kind]), torch.float32)
    captions = ["a dog", "an oak", "a dog", *(f"a dog and an oak {n}" for n in range(9))]
    expected = pipeline.encode_prompt(
        "an oak", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    seen = []
    pipeline.text_encoder.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    texts = encode_texts(pipeline, captions, torch.float32, "cpu")
    assert sum(seen) == len(texts.row) == 12  # eleven captions and the empty one
    assert texts.row[""] == 0
    embeddings, pooled = texts.pick(["an oak", "a dog", "an oak"])
    assert torch.equal(embeddings[0], embeddings[2])
    assert not torch.equal(embeddings[0], embeddings[1])
    torch.testing.assert_close(embeddings[0], expected[0][0])
    if kind == "XL":
        assert pooled is not None
        torch.testing.assert_close(pooled[0], expected[2][0])
        assert pipeline.text_encoder_2 is None
    else:
        assert pooled is None
    assert pipeline.text_encoder is None
    empty, empty_pooled = texts.pick([""])
    assert bool(empty.any()) == (kind != "XL")
    assert empty_pooled is None or not empty_pooled.any()


def count_encoded(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    encode = pipeline.vae.encode
    monkeypatch.setattr(
        pipeline.vae, "encode", lambda pixels: calls.append(len(pixels)) or encode(pixels)
    )
    return calls


def test_windows_and_their_mirror_images_are_encoded_once(
    make_job: MakeJob, toy_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two windows of the wide picture; the others have room for one."""
    pipeline = read_pipeline(str(toy_folders["1.x"]), torch.float32)
    calls = count_encoded(pipeline, monkeypatch)
    job = make_job()
    found = encode_examples(pipeline.vae, job.images, job.section, job.size, 8, "cpu")
    assert [len(example.latents) for example in found] == [2, 2, 2, 2, 4]
    assert sum(calls) == 12
    assert [example.caption for example in found] == [image.caption for image in job.images]
    image = read_image(job.images[1].path)
    expected = encode_images(pipeline.vae, np.stack([image, image[:, ::-1]]), "cpu")
    torch.testing.assert_close(found[1].latents, expected)

    plain = make_job(flip=False, crops_per_image=3)
    found = encode_examples(pipeline.vae, plain.images, plain.section, plain.size, 8, "cpu")
    assert [len(example.latents) for example in found] == [1, 1, 1, 1, 3]


def test_buckets_keep_the_aspect(make_job: MakeJob, toy_folders: dict[str, Path]) -> None:
    pipeline = read_pipeline(str(toy_folders["1.x"]), torch.float32)
    job = make_job(framing="buckets")
    found = encode_examples(pipeline.vae, job.images, job.section, job.size, 8, "cpu")
    assert [example.shape for example in found] == [(4, 8, 8)] * 4 + [(4, 6, 11)]


def test_the_seed_draws_the_windows(make_job: MakeJob, toy_folders: dict[str, Path]) -> None:
    pipeline = read_pipeline(str(toy_folders["1.x"]), torch.float32)

    def wide(**changes: Any) -> torch.Tensor:
        job = make_job(**changes)
        images = job.images[-1:]
        return encode_examples(pipeline.vae, images, job.section, job.size, 8, "cpu")[0].latents

    assert torch.equal(wide(), wide())
    assert not torch.equal(wide(), wide(seed=1))
