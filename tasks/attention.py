"""Reading a UNet's attention while it samples.

A trace observes and never replaces: it looks at the queries and keys that the attention layers
compute anyway (forward hooks on their projections), so the images are bit-identical with and
without it, whatever processors or LoRA layers are in force. Only the conditional half is read, only
at the chosen steps, and only one small map per resolution stays on the device.

A step is a call of the UNet, counted from 0: one per denoising step in diffusers' pipelines.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, FusedAttnProcessor2_0
from torch import Tensor, nn

from tasks.params import InputError

log = logging.getLogger(__name__)

TokenColumns = Sequence[Sequence[Sequence[int]]]
"""For each sample, for each of its class phrases: the positions of the phrase's tokens, see
`tasks.phrases.phrase_columns`."""

Size = tuple[int, int]
SUPPORTED = "supported are pipelines with a UNet2DConditionModel (Stable Diffusion 1.x, 2.x, XL)"


@dataclass
class AttentionTrace:
    """What a trace has read so far; made by `trace_cross_attention`.

    Attributes:
        step: index of the UNet call in progress, -1 before the first.
        guided: whether the batch is (unconditional, conditional); None before the first call read.
    """

    token_columns: TokenColumns
    steps: frozenset[int]
    resolutions: frozenset[int] | None
    step: int = -1
    guided: bool | None = None
    _weights: Tensor | None = None
    _sums: dict[Size, Tensor] = field(default_factory=dict)
    _counts: dict[Size, int] = field(default_factory=dict)

    def maps(self) -> dict[Size, Tensor]:
        """Mean over the traced layers, heads and steps, one map per resolution.

        Returns:
            ``{(h, w): float32 (samples, phrases, h, w)}``, attention probabilities 0..1, on the
            UNet's device. Samples with fewer phrases than the longest have zeros at the end.

        Raises:
            RuntimeError: nothing was traced: the step or the resolution never came.
        """
        if not self._sums:
            raise RuntimeError(
                f"no attention was traced: steps {sorted(self.steps)}, resolutions "
                f"{sorted(self.resolutions or [])}; the UNet was called {self.step + 1} times"
            )
        return {size: total / self._counts[size] for size, total in sorted(self._sums.items())}

    def _wants(self, size: Size) -> bool:
        return self.resolutions is None or max(size) in self.resolutions

    def _read(self, query: Tensor, key: Tensor, size: Size, mask: Tensor | None) -> None:
        """Add softmax(Q K^T / sqrt(d)) at the phrases' columns, averaged over heads.

        Args:
            query: ``(N, heads, h * w, d)``, scaled.
            key: ``(N, heads, tokens, d)``.
            mask: ``(N, 1, 1, tokens)`` to add to the scores.
        """
        if self._weights is None:
            self._weights = _column_weights(self.token_columns, key.shape[2]).to(query.device)
        scores = (query @ key.transpose(-1, -2)).float()
        if mask is not None:
            scores = scores + mask
        columns = scores.softmax(-1) @ self._weights
        read = columns.mean(1).transpose(1, 2).unflatten(-1, size)
        self._sums[size] = self._sums[size].add_(read) if size in self._sums else read
        self._counts[size] = self._counts.get(size, 0) + 1


@dataclass
class SelfAttentionTrace:
    """What `trace_self_attention` has read so far; attributes as in `AttentionTrace`."""

    samples: int
    steps: frozenset[int]
    resolution: int
    step: int = -1
    guided: bool | None = None
    _sum: Tensor | None = None
    _count: int = 0
    _size: Size = (0, 0)

    def matrix(self) -> tuple[Size, Tensor]:
        """Mean over the traced layers and heads.

        Returns:
            (h, w) and ``float32 (samples, h * w, h * w)``: row i is how position i attends to all.

        Raises:
            RuntimeError: nothing was traced: the step or the resolution never came.
        """
        if self._sum is None:
            raise RuntimeError(
                f"no self-attention was traced: step {sorted(self.steps)}, resolution "
                f"{self.resolution}; the UNet was called {self.step + 1} times"
            )
        return self._size, self._sum / self._count

    def _wants(self, size: Size) -> bool:
        return max(size) == self.resolution

    def _read(self, query: Tensor, key: Tensor, size: Size, mask: Tensor | None) -> None:
        self._size = size
        # Head by head: all heads at once would take heads times the memory of the result.
        for q, k in zip(query.unbind(1), key.unbind(1), strict=True):
            read = (q @ k.transpose(-1, -2)).float().softmax(-1)
            self._sum = read if self._sum is None else self._sum.add_(read)
        self._count += query.shape[1]


Trace = AttentionTrace | SelfAttentionTrace


def to_host(maps: Mapping[Any, Tensor]) -> dict[Any, np.ndarray]:
    """Tensors of one device as ``float16`` arrays, in one copy."""
    flat = torch.cat([value.half().flatten() for value in maps.values()]).cpu().numpy()
    ends = np.cumsum([value.numel() for value in maps.values()])
    parts = np.split(flat, ends[:-1])
    return {
        key: part.reshape(tuple(value.shape))
        for (key, value), part in zip(maps.items(), parts, strict=True)
    }


@contextmanager
def trace_cross_attention(
    unet: nn.Module,
    token_columns: TokenColumns,
    steps: Collection[int],
    *,
    resolutions: Collection[int] | None = None,
) -> Iterator[AttentionTrace]:
    """Read the class phrases' cross-attention of ``unet`` while the block runs.

    Args:
        unet: of a Stable Diffusion 1.x, 2.x or XL pipeline.
        token_columns: one entry per sample of the batch.
        steps: the calls of the UNet to read.
        resolutions: longer sides of the maps to read; None reads all.

    Raises:
        InputError: the network is of another kind, or cannot be observed as it is set up.
    """
    trace = AttentionTrace(
        token_columns, frozenset(steps), None if resolutions is None else frozenset(resolutions)
    )
    with _observe(unet, trace, len(token_columns), cross=True):
        yield trace


@contextmanager
def trace_self_attention(
    unet: nn.Module, samples: int, step: int, resolution: int
) -> Iterator[SelfAttentionTrace]:
    """Read the self-attention of ``unet`` at one step and one resolution while the block runs.

    Costs ``4 (h w)^2`` bytes per sample on the device, and about the same again while it reads.

    Args:
        unet: of a Stable Diffusion 1.x, 2.x or XL pipeline.
        samples: of the batch.
        step: the call of the UNet to read.
        resolution: longer side of the layers' positions.

    Raises:
        InputError: the network is of another kind, or cannot be observed as it is set up.
    """
    trace = SelfAttentionTrace(samples, frozenset([step]), resolution)
    with _observe(unet, trace, samples, cross=False):
        yield trace


def _column_weights(token_columns: TokenColumns, length: int) -> Tensor:
    """``float32 (samples, 1, length, phrases)`` that averages each phrase's tokens."""
    phrases = max(len(sample) for sample in token_columns)
    weights = torch.zeros(len(token_columns), 1, length, phrases)
    for i, sample in enumerate(token_columns):
        for j, columns in enumerate(sample):
            weights[i, 0, list(columns), j] = 1 / len(columns)
    return weights


def _map_size(latents: Size, positions: int) -> Size | None:
    """The (h, w) of a layer with ``positions`` query positions, a halving of the latents."""
    h, w = latents
    while h * w > positions:
        h, w = -(-h // 2), -(-w // 2)
    return (h, w) if h * w == positions else None


def _readable_layers(unet: nn.Module, cross: bool) -> list[Attention]:
    """The attention layers of the asked kind.

    Raises:
        InputError: the network is of another kind, or cannot be observed as it is set up.
    """
    inner = getattr(unet, "_orig_mod", unet)  # of torch.compile
    layers = [
        module
        for module in inner.modules()
        if isinstance(module, Attention)
        and module.is_cross_attention == cross
        and module.added_kv_proj_dim is None
    ]
    if not isinstance(inner, UNet2DConditionModel) or not layers:
        kind = "cross" if cross else "self"
        raise InputError(
            f"{type(inner).__name__}: its {kind}-attention cannot be read; {SUPPORTED}"
        )
    if inner._compiled_call_impl is not None:
        raise InputError(
            "the UNet is compiled in place, which hides its attention; use "
            "pipeline.unet = torch.compile(pipeline.unet), or compile_repeated_blocks()"
        )
    # Not by layer.fused_projections: it stays on when the projections are unfused.
    if any(isinstance(layer.processor, FusedAttnProcessor2_0) for layer in layers):
        raise InputError(
            "the UNet's projections are fused, which hides its attention; call "
            "unfuse_qkv_projections() first"
        )
    return layers


@contextmanager
def _observe(unet: nn.Module, trace: Trace, samples: int, *, cross: bool) -> Iterator[None]:
    """Count the UNet's calls, and at the chosen ones show the layers' queries and keys to a trace.

    The layers have hooks only while they are read. Compiled code runs no hooks, so a compiled UNet
    runs uncompiled at these steps; at the others nothing of the trace is there to be compiled in.
    """
    layers = _readable_layers(unet, cross)
    reading = ExitStack()

    def before_unet(_unet: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        trace.step += 1
        if trace.step not in trace.steps:
            return
        if _is_compiled(unet):
            reading.enter_context(torch.compiler.set_stance("force_eager"))
        latents = (args[0] if args else kwargs["sample"]).shape[-2:]
        for layer in layers:
            for remove in watch(layer, (latents[0], latents[1])):
                reading.callback(remove)

    def after_unet(*_: Any) -> None:
        reading.close()

    def watch(layer: Attention, latents: Size) -> Iterator[Callable[[], None]]:
        seen: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
            def hook(_projection: nn.Module, _args: Any, output: Tensor) -> None:
                seen[name] = output

            return hook

        @torch.no_grad()
        def after_layer(
            _layer: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any], _output: Tensor
        ) -> None:
            if len(seen) < 2:
                raise InputError(
                    f"{type(layer.processor).__name__} attends without the layer's to_q and to_k, "
                    "which hides its attention; call unet.set_attn_processor(AttnProcessor2_0()) "
                    "first"
                )
            query, key = seen.pop("query"), seen.pop("key")
            size = _map_size(latents, query.shape[1])
            if size is None or not trace._wants(size):
                return
            _note_guidance(trace, len(query), samples)
            query, key = _heads(layer, query[-samples:], key[-samples:])
            mask = kwargs.get("attention_mask")
            if mask is not None:
                mask = mask[-samples:].float().reshape(samples, 1, 1, -1)
            trace._read(query, key, size, mask)

        yield layer.to_q.register_forward_hook(keep("query")).remove
        yield layer.to_k.register_forward_hook(keep("key")).remove
        yield layer.register_forward_hook(after_layer, with_kwargs=True).remove

    with ExitStack() as hooks:
        hooks.callback(reading.close)
        hooks.callback(unet.register_forward_pre_hook(before_unet, with_kwargs=True).remove)
        # Prepended: of nested traces the inner one ends first, and the stance with it.
        ended = unet.register_forward_hook(after_unet, always_call=True, prepend=True)
        hooks.callback(ended.remove)
        yield


def _is_compiled(unet: nn.Module) -> bool:
    return any(
        hasattr(module, "_orig_mod") or module._compiled_call_impl is not None
        for module in unet.modules()
    )


def _note_guidance(trace: Trace, batch: int, samples: int) -> None:
    """Tell whether the batch is guided, and say it once where it is not.

    Raises:
        ValueError: the batch is neither as large as the samples nor twice that.
    """
    if batch not in (samples, 2 * samples):
        raise ValueError(
            f"the trace was made for {samples} samples, but the UNet runs a batch of {batch}; "
            f"expected {samples} or, guided, {2 * samples}"
        )
    if trace.guided is None and batch == samples:
        log.info("guidance is off: the whole batch is conditional, and all of it is read")
    # With classifier-free guidance the batch is (unconditional, conditional).
    trace.guided = batch == 2 * samples


def _heads(layer: Attention, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Queries, scaled by 1 / sqrt(d), and keys: ``(N, heads, positions, d)``, as processors do."""
    query = query.unflatten(-1, (layer.heads, -1)).transpose(1, 2)
    key = key.unflatten(-1, (layer.heads, -1)).transpose(1, 2)
    if layer.norm_q is not None:
        query = layer.norm_q(query)
    if layer.norm_k is not None:
        key = layer.norm_k(key)
    if layer.upcast_attention:  # Stable Diffusion 2.x: the products overflow float16
        query, key = query.float(), key.float()
    return query * layer.scale, key
