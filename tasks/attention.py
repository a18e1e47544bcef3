"""Reading a UNet's cross-attention while it samples.

The trace observes and never replaces: forward hooks see the same inputs as the attention layers and
recompute the few softmax columns that are wanted, so the images are bit-identical with and without
it, whatever processors or LoRA layers are in force. Cost: one QK^T of the conditional half, at the
chosen step only.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from tasks.params import InputError

TokenColumns = Sequence[Sequence[Sequence[int]]]
"""For each sample, for each of its class phrases: the positions of the phrase's tokens."""


def phrase_columns(tokenizer: Any, text: str, spans: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Token positions of the character spans of ``text``, from the tokenizer's own offsets.

    Raises:
        InputError: a phrase has no token before the text encoder's length cuts the prompt off.
    """
    encoded = tokenizer(
        text,
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_offsets_mapping=True,
    )
    offsets = encoded["offset_mapping"]
    columns = []
    for start, end in spans:
        found = [i for i, (a, b) in enumerate(offsets) if a < end and b > start]
        last = max((offsets[i][1] for i in found), default=0)
        if last < end:
            raise InputError(
                f"prompt {text!r}: the phrase {text[start:end]!r} lies past the text encoder's "
                f"{tokenizer.model_max_length} tokens; shorten the template"
            )
        columns.append(found)
    return columns


@dataclass
class AttentionTrace:
    """What a trace has read so far; made by `trace_cross_attention`.

    Attributes:
        step: index of the denoising step in progress, kept up to date by `on_step_end`.
    """

    weights: Tensor
    steps: frozenset[int]
    resolutions: frozenset[int] | None
    step: int = 0
    latent_size: tuple[int, int] = (0, 0)
    _sums: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    _counts: dict[tuple[int, int], int] = field(default_factory=dict)

    def on_step_end(self, _pipe: Any, step: int, _t: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Pass this as the pipeline's ``callback_on_step_end``."""
        self.step = step + 1
        return kwargs

    def maps(self) -> dict[tuple[int, int], Tensor]:
        """Mean over the traced layers, heads and steps, one map per resolution.

        Returns:
            ``{(h, w): float32 (samples, phrases, h, w)}``, attention probabilities 0..1. Samples
            with fewer phrases than the longest have zeros at the end.

        Raises:
            RuntimeError: nothing was traced: the step or the resolution never came.
        """
        if not self._sums:
            raise RuntimeError(
                f"no attention was traced: steps {sorted(self.steps)}, resolutions "
                f"{sorted(self.resolutions or [])}; reached step {self.step}"
            )
        return {size: total / self._counts[size] for size, total in sorted(self._sums.items())}

    def _map_size(self, positions: int) -> tuple[int, int] | None:
        """The (h, w) of a layer with ``positions`` query positions, a halving of the latents."""
        h, w = self.latent_size
        while h * w > positions:
            h, w = -(-h // 2), -(-w // 2)
        return (h, w) if h * w == positions else None

    def _observe(
        self, layer: Attention, hidden: Tensor, context: Tensor, mask: Tensor | None
    ) -> None:
        if self.step not in self.steps:
            return
        size = self._map_size(hidden.shape[1])
        if size is None or (self.resolutions is not None and max(size) not in self.resolutions):
            return
        samples = len(self.weights)
        if hidden.shape[0] not in (samples, 2 * samples):
            raise ValueError(
                f"token_columns name {samples} samples, but the UNet runs a batch of "
                f"{hidden.shape[0]}; expected {samples} or, guided, {2 * samples}"
            )
        # With classifier-free guidance the batch is (unconditional, conditional).
        probabilities = _attention_probabilities(
            layer, hidden[-samples:], context[-samples:], None if mask is None else mask[-samples:]
        )
        weights = self.weights.to(probabilities.device)
        read = torch.einsum("bnl,bpl->bpn", probabilities, weights).unflatten(-1, size)
        self._sums[size] = self._sums[size] + read if size in self._sums else read
        self._counts[size] = self._counts.get(size, 0) + 1


def _attention_probabilities(
    layer: Attention, hidden: Tensor, context: Tensor, mask: Tensor | None
) -> Tensor:
    """softmax(Q K^T / sqrt(d)) averaged over heads: ``float32 (samples, positions, tokens)``."""
    if layer.norm_cross:
        context = layer.norm_encoder_hidden_states(context)
    query = layer.to_q(hidden).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
    key = layer.to_k(context).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
    if layer.norm_q is not None:
        query = layer.norm_q(query)
    if layer.norm_k is not None:
        key = layer.norm_k(key)
    scores = (query @ key.transpose(-1, -2)).float() * layer.scale
    if mask is not None:
        scores = scores + mask.float().reshape(len(scores), 1, 1, -1)
    return scores.softmax(dim=-1).mean(dim=1)


def _column_weights(token_columns: TokenColumns, length: int) -> Tensor:
    """``float32 (samples, phrases, length)`` that averages each phrase's tokens."""
    phrases = max(len(sample) for sample in token_columns)
    weights = torch.zeros(len(token_columns), phrases, length)
    for i, sample in enumerate(token_columns):
        for j, columns in enumerate(sample):
            weights[i, j, list(columns)] = 1 / len(columns)
    return weights


@contextmanager
def trace_cross_attention(
    unet: nn.Module,
    token_columns: TokenColumns,
    steps: Collection[int],
    *,
    text_length: int,
    resolutions: Collection[int] | None = None,
) -> Iterator[AttentionTrace]:
    """Read the class phrases' cross-attention of ``unet`` while the block runs.

    Args:
        unet: a diffusers UNet with cross-attention layers.
        token_columns: see `phrase_columns`; one entry per sample of the batch.
        steps: indices of the denoising steps to read.
        text_length: tokens of a prompt, padding included.
        resolutions: longer sides of the maps to read; None reads all.

    Raises:
        InputError: the network has no cross-attention layer that can be read.
    """
    layers = [m for m in unet.modules() if isinstance(m, Attention) and m.is_cross_attention]
    if not layers:
        raise InputError(
            f"{type(unet).__name__} has no cross-attention layer to read; supported are pipelines "
            "with a UNet2DConditionModel (Stable Diffusion 1.x, 2.x, XL)"
        )
    trace = AttentionTrace(
        weights=_column_weights(token_columns, text_length),
        steps=frozenset(steps),
        resolutions=None if resolutions is None else frozenset(resolutions),
    )

    def see_unet(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        latents = args[0] if args else kwargs["sample"]
        trace.latent_size = (latents.shape[-2], latents.shape[-1])

    @torch.no_grad()
    def see_layer(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        context = kwargs.get("encoder_hidden_states")
        if isinstance(layer, Attention) and context is not None:
            trace._observe(layer, hidden, context, kwargs.get("attention_mask"))

    with ExitStack() as hooks:
        hooks.callback(unet.register_forward_pre_hook(see_unet, with_kwargs=True).remove)
        for layer in layers:
            hooks.callback(layer.register_forward_pre_hook(see_layer, with_kwargs=True).remove)
        yield trace
