"""What a network is trained on, encoded once: captions to embeddings, images to latents."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DiffusionPipeline
from torch import Tensor

from tasks.framing import Size, buckets, nearest_bucket, windows
from tasks.params import AdaptLora
from tasks.progress import progress
from tasks.records import batched, content_seed
from tasks.reference_images import read_image

Autoencoder: TypeAlias = AutoencoderKL | AutoencoderTiny

AT_ONCE = 8
"""Captions or images that an encoder takes at a time."""
READ_AHEAD = 32
"""Images that are held as pixels at a time."""


@dataclass(frozen=True)
class Texts:
    """Encoded captions, on the CPU.

    Attributes:
        row: caption -> its row.
        embeddings: ``(n, tokens, D)``.
        pooled: ``(n, P)`` of SDXL's second encoder, else None.
    """

    row: dict[str, int]
    embeddings: Tensor
    pooled: Tensor | None

    def pick(self, captions: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """The embeddings of these captions, and what goes with them."""
        rows = torch.tensor([self.row[caption] for caption in captions])
        return self.embeddings[rows], None if self.pooled is None else self.pooled[rows]


@dataclass(frozen=True)
class Captioned:
    """A reference image with its caption; ``digest`` is the SHA-256 of its file."""

    path: Path
    name: str
    caption: str
    digest: str


@dataclass(frozen=True)
class Example:
    """An image to learn from: its windows' latents ``float32 (n, C, h, w)`` and its caption."""

    latents: Tensor
    caption: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one window's latents, ``(C, h, w)``."""
        return tuple(self.latents.shape[1:])


@torch.no_grad()
def encode_texts(
    pipeline: DiffusionPipeline, captions: Iterable[str], dtype: torch.dtype, device: str
) -> Texts:
    """Encode each caption that occurs once, as sampling does, and the empty one.

    The empty one is what guidance leads away from: zeros, where the pipeline is an XL that was
    trained so.

    Args:
        pipeline: loses its text encoders, which all is said to then.
        captions: all that will be needed.
        dtype: of the embeddings.
        device: where to encode.
    """
    encoders = [part for part in ("text_encoder", "text_encoder_2") if hasattr(pipeline, part)]
    for name in encoders:
        getattr(pipeline, name).to(device)
    distinct = list(dict.fromkeys(["", *captions]))
    embeddings, pooled = [], []
    for part in batched(distinct, AT_ONCE):
        encoded = pipeline.encode_prompt(
            part, device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        embeddings.append(encoded[0].to("cpu", dtype))
        if len(encoded) == 4:  # SDXL: with the negative prompt's, and the texts as a whole
            pooled.append(encoded[2].to("cpu", dtype))
    for name in encoders:
        setattr(pipeline, name, None)
    if pooled and pipeline.config.force_zeros_for_empty_prompt:
        embeddings[0][0], pooled[0][0] = 0, 0
    return Texts(
        {caption: row for row, caption in enumerate(distinct)},
        torch.cat(embeddings),
        torch.cat(pooled) if pooled else None,
    )


@torch.no_grad()
def encode_images(vae: Autoencoder, images: np.ndarray, device: str) -> Tensor:
    """Images to latents as the network sees them: the autoencoder's mean, scaled.

    Args:
        vae: the autoencoder.
        images: ``uint8 (N, H, W, 3)``.
        device: where the autoencoder is.

    Returns:
        ``float32 (N, C, h, w)`` on the CPU.
    """
    found = []
    for part in np.split(images, range(AT_ONCE, len(images), AT_ONCE)):
        pixels = torch.from_numpy(part).to(device).permute(0, 3, 1, 2).to(vae.dtype) / 127.5 - 1
        encoded = vae.encode(pixels)
        kl = isinstance(vae, AutoencoderKL)
        latents = encoded.latent_dist.mode() if kl else encoded.latents
        found.append((latents.float() * vae.config.scaling_factor).cpu())
    return torch.cat(found)


def encode_examples(
    vae: Autoencoder,
    images: Sequence[Captioned],
    section: AdaptLora,
    size: Size,
    step: int,
    device: str,
) -> list[Example]:
    """Cut windows out of each image, mirrored ones beside them, and encode them.

    Args:
        vae: see `encode_images`.
        images: in the order of the result.
        section: how many windows, of one size or by aspect, mirrored or not; the seed.
        size: of sampling, which windows have or have the area of.
        step: pixels that sides are multiples of.
        device: where to encode; the autoencoder goes there and comes back.
    """
    sizes = buckets(size, step) if section.framing == "buckets" else [size]

    def cut(image: Captioned) -> np.ndarray:
        pixels = read_image(image.path)
        rng = np.random.default_rng(content_seed("windows", section.seed, image.name))
        target = nearest_bucket(pixels.shape[:2], sizes)
        found = windows(pixels, target, section.crops_per_image, rng)
        return np.concatenate([found, found[:, :, ::-1]]) if section.flip else found

    examples = []
    vae.to(device)
    with (
        progress("encoding the images", len(images), "images") as advance,
        ThreadPoolExecutor() as pool,
    ):
        for part in batched(images, READ_AHEAD):
            for image, pixels in zip(part, pool.map(cut, part), strict=True):
                examples.append(Example(encode_images(vae, pixels, device), image.caption))
                advance(1)
    vae.to("cpu")
    return examples
