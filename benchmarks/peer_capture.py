"""How others capture attention, written anew from what their papers and users say of them.

Both compute the attention matrix explicitly, in an attention processor that takes the place of the
pipeline's own. They are here to be measured against `tasks.attention`, not to be used.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

STORED_POSITIONS = 32 * 32
"""Self-attention is stored up to this many positions, as prompt-to-prompt does (2208.01626)."""


class ExplicitProcessor:
    """softmax(Q K^T / sqrt(d)) V, its matrix shown to a reader.

    Stable Diffusion masks no token, so masks are not looked at.
    """

    def __init__(self, read: Callable[[Attention, Tensor], None]) -> None:
        self.read = read

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """As diffusers calls it; the reader gets ``(N, heads, positions, tokens)``."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            projected.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for projected in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        probabilities = (query @ key.transpose(-1, -2) * attn.scale).softmax(-1)
        self.read(attn, probabilities)
        output: Tensor = (probabilities @ value).transpose(1, 2).flatten(2)
        for layer in attn.to_out:
            output = layer(output)
        return output


@contextmanager
def store_everything(unet: UNet2DConditionModel) -> Iterator[list[Tensor]]:
    """Keep every layer's and step's attention, as DiffuMask (2303.11681) and prompt-to-prompt do.

    Yields:
        The conditional half of cross-attention at all resolutions and of self-attention up to
        `STORED_POSITIONS`, ``float32 (samples, heads, positions, tokens)``, call after call.
    """
    kept: list[Tensor] = []

    def read(attn: Attention, probabilities: Tensor) -> None:
        if attn.is_cross_attention or probabilities.shape[2] <= STORED_POSITIONS:
            conditional = probabilities[len(probabilities) // 2 :]
            # A copy: a view would keep the unconditional half alive as well.
            kept.append(conditional.to(torch.float32, copy=True))

    with _processors(unet, ExplicitProcessor(read), ""):
        yield kept


@contextmanager
def sum_heat_maps(unet: UNet2DConditionModel) -> Iterator[dict[Attention, Tensor]]:
    """Sum every word's heat map over the steps, word by word, as DAAM (2210.04885) does.

    It refuses batches, and so does this: a guided batch holds one image.

    Yields:
        Per cross-attention layer: ``float32 (words, positions)``, mean over heads, sum over steps.

    Raises:
        ValueError: within the block, when the UNet runs more than one image.
    """
    sums: dict[Attention, Tensor] = {}

    def read(attn: Attention, probabilities: Tensor) -> None:
        if len(probabilities) != 2:
            raise ValueError(
                f"heat maps are summed for one guided image at a time, that is a batch of 2, not "
                f"{len(probabilities)}"
            )
        heads = probabilities[1]
        _, positions, words = heads.shape
        if attn not in sums:
            sums[attn] = torch.zeros(words, positions, device=heads.device)
        for word in range(words):
            sums[attn][word] += heads[:, :, word].mean(0)

    with _processors(unet, ExplicitProcessor(read), ".attn2."):
        yield sums


@contextmanager
def _processors(
    unet: UNet2DConditionModel, processor: ExplicitProcessor, part: str
) -> Iterator[None]:
    """Put ``processor`` in the place of those with ``part`` in their names."""
    before = unet.attn_processors
    unet.set_attn_processor(
        {name: processor if part in name else own for name, own in before.items()}
    )
    try:
        yield
    finally:
        unet.set_attn_processor(before)
