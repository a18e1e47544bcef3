"""Reading a UNet's attention while it samples.

A trace observes and never replaces: it looks at the queries and keys that the attention layers
compute anyway (forward hooks on their projections), so the images are bit-identical with and
without it, whatever processors or LoRA layers are in force. Only the conditional half is read, only
at the chosen steps, and only one small map per resolution stays on the device.

A step is a call of the UNet, counted from 0. Most schedulers make one call per denoising step;
second-order ones make more: the length of ``scheduler.timesteps`` tells.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tasks.observation import Size, observe

TokenColumns = Sequence[Sequence[Sequence[int]]]
"""For each sample, for each of its class phrases: the positions of the phrase's tokens, see
`tasks.phrases.phrase_columns`."""


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

    def wants(self, size: Size) -> bool:
        """Whether layers of this (h, w) are read."""
        return self.resolutions is None or max(size) in self.resolutions

    def read(self, query: Tensor, key: Tensor, size: Size, mask: Tensor | None) -> None:
        """Add softmax(Q K^T / sqrt(d)) at the phrases' columns, averaged over heads."""
        if self._weights is None:
            self._weights = _column_weights(self.token_columns, key.shape[2]).to(query.device)
        scores = (query @ key.transpose(-1, -2)).float()
        if mask is not None:
            scores = scores + mask
        # Heads and positions in one dimension: one product for each sample.
        columns = scores.softmax(-1).flatten(1, 2) @ self._weights
        read = columns.unflatten(1, (-1, *size)).mean(1).permute(0, 3, 1, 2)
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

    def wants(self, size: Size) -> bool:
        """Whether layers of this (h, w) are read."""
        return max(size) == self.resolution

    def read(self, query: Tensor, key: Tensor, size: Size, mask: Tensor | None) -> None:
        """Add softmax(Q K^T / sqrt(d)), averaged over heads."""
        self._size = size
        # Head by head: all heads at once would take heads times the memory of the result.
        for q, k in zip(query.unbind(1), key.unbind(1), strict=True):
            scores = (q @ k.transpose(-1, -2)).float()
            if mask is not None:
                scores = scores + mask[:, 0]
            torch.softmax(scores, -1, out=scores)
            self._sum = scores if self._sum is None else self._sum.add_(scores)
        self._count += query.shape[1]


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
    with observe(unet, trace, len(token_columns), cross=True):
        yield trace


@contextmanager
def trace_self_attention(
    unet: nn.Module, samples: int, step: int, resolution: int
) -> Iterator[SelfAttentionTrace]:
    """Read the self-attention of ``unet`` at one step and one resolution while the block runs.

    Costs ``4 (h w)^2`` bytes per sample on the device, and up to twice that again while it reads.

    Args:
        unet: of a Stable Diffusion 1.x, 2.x or XL pipeline.
        samples: of the batch.
        step: the call of the UNet to read.
        resolution: longer side of the layers' positions.

    Raises:
        InputError: the network is of another kind, or cannot be observed as it is set up.
    """
    trace = SelfAttentionTrace(samples, frozenset([step]), resolution)
    with observe(unet, trace, samples, cross=False):
        yield trace


def _column_weights(token_columns: TokenColumns, length: int) -> Tensor:
    """``float32 (samples, length, phrases)`` that averages each phrase's tokens."""
    phrases = max(len(sample) for sample in token_columns)
    weights = torch.zeros(len(token_columns), length, phrases)
    for i, sample in enumerate(token_columns):
        for j, columns in enumerate(sample):
            weights[i, list(columns), j] = 1 / len(columns)
    return weights
