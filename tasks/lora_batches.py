"""The batches of an adapter's training, drawn from nothing but the seed and the step.

So a training that was stopped goes on with what it would have drawn.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from tasks.diffusion import Batch
from tasks.encoding import Example, Texts
from tasks.params import AdaptLora
from tasks.records import content_seed

T = TypeVar("T")

LEAST_HELD_OUT = 64
"""Noised latents that a held-out loss is the mean of, at least."""
LEAST_PER_IMAGE = 4
"""Of them, from one image."""


def split(items: Sequence[T], count: int, seed: int) -> tuple[list[T], list[T]]:
    """Items to train on, and ``count`` others, drawn by the seed, that are held out."""
    rng = np.random.default_rng(content_seed("held out", seed))
    held_out = set(rng.permutation(len(items))[:count].tolist())
    return (
        [item for at, item in enumerate(items) if at not in held_out],
        [item for at, item in enumerate(items) if at in held_out],
    )


def time_ids(latents: Tensor, vae_factor: int) -> Tensor:
    """SDXL's conditions on size: as in sampling, an image of this size that is not cropped.

    Returns:
        ``float32 (B, 6)``: original height and width, top, left, target height and width.
    """
    height, width = latents.shape[-2] * vae_factor, latents.shape[-1] * vae_factor
    return torch.tensor([height, width, 0, 0, height, width], dtype=torch.float32).repeat(
        len(latents), 1
    )


class TrainingSet:
    """Images of the domain and, where the prior is to be kept, images that the base model made.

    Args:
        examples: of the domain.
        prior: of the base model.
        texts: all their captions, and the empty one.
        section: the recipe: how many rows of which kind, and how they are noised.
        steps: timesteps of the forward process.
        vae_factor: pixels per latent position.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        prior: Sequence[Example],
        texts: Texts,
        section: AdaptLora,
        steps: int,
        vae_factor: int,
    ) -> None:
        self.examples, self.prior, self.texts = examples, prior, texts
        self.section, self.steps, self.vae_factor = section, steps, vae_factor
        self._of_shape = {
            examples[rows[0]].shape: [examples[row] for row in rows] for rows in _by_shape(examples)
        }

    def draw(self, step: int) -> list[Batch]:
        """The batches of a step; one for each size of latents, and no larger than the recipe says.

        A step takes images of one size, the size of an image drawn at random; none comes twice
        before all of that size have come. Timesteps are stratified over the step's rows (Kingma et
        al. 2021, appendix I.1): the same mean loss, with less noise.
        """
        section = self.section
        generator = torch.Generator().manual_seed(content_seed("step", section.seed, step))
        anchor = self.examples[_integer(len(self.examples), generator)]
        own = _choose(self._of_shape[anchor.shape], section.rows - section.prior_rows, generator)
        chosen = [*own, *_choose(self.prior, section.prior_rows, generator)]
        order = torch.randperm(len(chosen), generator=generator)
        timesteps = _stratified(order, self.steps, generator)
        dropped = torch.rand(len(chosen), generator=generator) < section.caption_dropout
        batches = []
        for rows in _by_shape(chosen):
            windows = [chosen[row].latents for row in rows]
            latents = torch.stack([found[_integer(len(found), generator)] for found in windows])
            noise = torch.randn(latents.shape, generator=generator)
            if section.noise_offset:  # one number a channel (Guttenberg 2023)
                whole = torch.randn(*latents.shape[:2], 1, 1, generator=generator)
                noise += section.noise_offset * whole
            captions = ["" if dropped[row] else chosen[row].caption for row in rows]
            batches += self._batches(latents, noise, timesteps[rows], captions)
        return batches

    def held_out(self, examples: Sequence[Example]) -> list[Batch]:
        """Batches that stay the same: each image noised several times, all times stratified.

        Of each image its first window. All rows together have one timestep in each of as many equal
        parts of the range, and each image has them from all over it.
        """
        each = max(LEAST_PER_IMAGE, math.ceil(LEAST_HELD_OUT / len(examples)))
        rows = [example for _ in range(each) for example in examples]
        generator = torch.Generator().manual_seed(content_seed("noise", self.section.seed))
        timesteps = _stratified(torch.arange(len(rows)), self.steps, generator)
        batches = []
        for same_size in _by_shape(rows):
            latents = torch.stack([rows[row].latents[0] for row in same_size])
            noise = torch.randn(latents.shape, generator=generator)
            captions = [rows[row].caption for row in same_size]
            batches += self._batches(latents, noise, timesteps[same_size], captions)
        return batches

    def _batches(
        self, latents: Tensor, noise: Tensor, timesteps: Tensor, captions: Sequence[str]
    ) -> list[Batch]:
        text, pooled = self.texts.pick(captions)
        ids = None if pooled is None else time_ids(latents, self.vae_factor)
        whole, size = Batch(latents, noise, timesteps, text, pooled, ids), self.section.batch_size
        return [whole.part(slice(at, at + size)) for at in range(0, len(whole), size)]


def _integer(bound: int, generator: torch.Generator) -> int:
    return int(torch.randint(bound, (), generator=generator))


def _choose(items: Sequence[Example], count: int, generator: torch.Generator) -> list[Example]:
    """``count`` items in random order, none twice before all have come."""
    chosen: list[Example] = []
    while len(chosen) < count:
        order = torch.randperm(len(items), generator=generator)[: count - len(chosen)]
        chosen += [items[at] for at in order.tolist()]
    return chosen


def _by_shape(examples: Sequence[Example]) -> list[list[int]]:
    """The positions of the examples, those of one shape together."""
    found: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, example in enumerate(examples):
        found[example.shape].append(row)
    return list(found.values())


def _stratified(order: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    """A timestep for each row, from the part of the range that ``order`` gives it."""
    within = torch.rand(len(order), generator=generator)
    return ((order + within) / len(order) * steps).long().clamp(max=steps - 1)
