"""UNets and pipelines to trace, and their attention computed by hand."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from tasks.attention import AttentionTrace, trace_cross_attention

KINDS = ("1.x", "2.x", "XL")
TEXTS = ["a dog", "an oak and a picture"]
COLUMNS = [[[2]], [[2, 5], [4]]]
"""The dog; the oak and the picture as one phrase of two tokens, and the article between them."""
SIZES = {
    "1.x": [(1, 2), (2, 3), (4, 6), (8, 12)],
    "2.x": [(1, 2), (2, 3), (4, 6), (8, 12)],
    "XL": [(2, 3), (4, 6)],
}
"""Cross-attention of an image of 64x96 pixels: 8x12 latents."""
Recorded = list[list[tuple[Attention, Tensor, Tensor | None]]]


def load_toy(folder: Path) -> DiffusionPipeline:
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module", params=KINDS)
def family(request: pytest.FixtureRequest, toy_folders: dict[str, Path]) -> tuple[str, Any]:
    """Each family's name and pipeline."""
    return request.param, load_toy(toy_folders[request.param])


@pytest.fixture(scope="module")
def shared_pipe(toy_folders: dict[str, Path]) -> DiffusionPipeline:
    return load_toy(toy_folders["1.x"])


@pytest.fixture
def pipe(shared_pipe: DiffusionPipeline) -> DiffusionPipeline:
    """A 1.x pipeline with a UNet of its own, to change."""
    components = shared_pipe.components | {"unet": deepcopy(shared_pipe.unet)}
    own = type(shared_pipe)(**components, requires_safety_checker=False)
    own.set_progress_bar_config(disable=True)
    return own


@pytest.fixture
def unet(pipe: DiffusionPipeline) -> UNet2DConditionModel:
    return pipe.unet


@pytest.fixture
def small_unet() -> UNet2DConditionModel:
    """One level and four cross-attention layers: quick to compile, or to call many times."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        block_out_channels=(8,), layers_per_block=1, norm_num_groups=4, attention_head_dim=2,
        cross_attention_dim=32, down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
    )  # fmt: skip


def sample(pipe: DiffusionPipeline, texts: Sequence[str] = TEXTS, **kwargs: Any) -> Tensor:
    """Three steps, each text with its own noise."""
    settings = {"height": 64, "width": 96, "num_inference_steps": 3, "output_type": "pt"}
    generators = [torch.Generator().manual_seed(5 + i) for i in range(len(texts))]
    return pipe(list(texts), generator=generators, **settings | kwargs).images


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


LATENTS = noise(4, 4, 8, 12)
CONTEXT = noise(4, 20, 32, seed=1)
"""A guided batch of two samples: (unconditional, conditional)."""


@torch.no_grad()
def run(
    unet: nn.Module, latents: Tensor = LATENTS, context: Tensor = CONTEXT, steps: int = 1
) -> Tensor:
    """Call the UNet ``steps`` times, each time on the result of the last."""
    dtype = next(unet.parameters()).dtype
    latents, context = latents.to(dtype), context.to(dtype)
    for _ in range(steps):
        latents = unet(latents, torch.tensor(10), encoder_hidden_states=context).sample
    return latents


@contextmanager
def record(unet: nn.Module, kind: str = "attn2") -> Iterator[Recorded]:
    """For each call of the UNet, its cross-attention layers with what goes into them."""
    calls: Recorded = []

    def keep(layer: Attention, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls[-1].append((layer, args[0], kwargs.get("encoder_hidden_states")))

    handles = [unet.register_forward_pre_hook(lambda *_: calls.append([]))]
    handles += [
        layer.register_forward_pre_hook(keep, with_kwargs=True)
        for name, layer in unet.named_modules()
        if name.endswith(kind)
    ]
    yield calls
    for handle in handles:
        handle.remove()


@torch.no_grad()
def attention(layer: Attention, hidden: Tensor, context: Tensor | None) -> Tensor:
    """Attention is all you need (2017), eq. 1, mean over heads: ``(N, positions, keys)``."""
    query = layer.to_q(hidden).unflatten(-1, (layer.heads, -1))
    key = layer.to_k(hidden if context is None else context).unflatten(-1, (layer.heads, -1))
    scores = torch.einsum("nqhd,nkhd->nhqk", query, key) / query.shape[-1] ** 0.5
    return scores.softmax(-1).mean(1)


def by_hand(
    calls: Recorded, columns: Sequence[Sequence[Sequence[int]]], half: slice
) -> dict[int, Tensor]:
    """positions -> ``(samples, phrases, positions)``, mean over the layers of all calls."""
    found: dict[int, list[Tensor]] = {}
    for layer, hidden, context in (entry for call in calls for entry in call):
        full = attention(layer, hidden, context)[half]
        maps = torch.zeros(len(columns), max(map(len, columns)), hidden.shape[1])
        for i, phrases in enumerate(columns):
            for j, phrase in enumerate(phrases):
                maps[i, j] = full[i, :, list(phrase)].mean(-1)
        found.setdefault(hidden.shape[1], []).append(maps)
    return {positions: torch.stack(maps).mean(0) for positions, maps in found.items()}


def assert_maps(maps: dict[Any, Tensor], expected: dict[Any, Tensor], **tolerance: float) -> None:
    assert list(maps) == list(expected)
    for key, value in maps.items():
        torch.testing.assert_close(value, expected[key], **tolerance)


def assert_by_hand(trace: AttentionTrace, expected: dict[int, Tensor]) -> None:
    maps = trace.maps()
    assert {h * w for h, w in maps} == set(expected)
    for (h, w), value in maps.items():
        torch.testing.assert_close(value.flatten(2), expected[h * w], atol=1e-6, rtol=1e-5)


def traced(unet: nn.Module, columns: Any = COLUMNS, steps: Any = (0,), **kwargs: Any) -> Any:
    """The maps of as many calls of the UNet as the steps need."""
    with trace_cross_attention(unet, columns, steps, **kwargs) as trace:
        run(unet, steps=max(steps) + 1)
    return trace.maps()


def hook_count(unet: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules())
