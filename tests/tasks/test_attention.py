"""What a trace reads is what the layers compute, and nothing that it reads changes the images."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DiffusionPipeline,
    PixArtTransformer2DModel,
    UNet2DConditionModel,
    UNet2DModel,
)
from diffusers.models.attention_processor import Attention, AttnProcessor2_0, SlicedAttnProcessor
from peft import LoraConfig
from torch import Tensor, nn

from tasks.attention import (
    AttentionTrace,
    to_host,
    trace_cross_attention,
    trace_self_attention,
)
from tasks.params import InputError

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
Load = Callable[[str], DiffusionPipeline]


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


# What is read


def test_images_are_bit_identical_and_maps_are_the_conditional_half_s(
    family: tuple[str, Any],
) -> None:
    kind, pipe = family
    plain = sample(pipe)
    with record(pipe.unet) as calls, trace_cross_attention(pipe.unet, COLUMNS, [0, 2]) as trace:
        images = sample(pipe)
    assert torch.equal(plain, images)
    assert (len(calls), trace.guided) == (3, True)
    assert {size: value.shape for size, value in trace.maps().items()} == {
        size: (2, 2, *size) for size in SIZES[kind]
    }
    assert_by_hand(trace, by_hand(calls[::2], COLUMNS, slice(2, 4)))
    unconditional = by_hand(calls[::2], COLUMNS, slice(0, 2))
    for (h, w), value in trace.maps().items():
        difference = (value.flatten(2) - unconditional[h * w])[1]
        assert difference.abs().amax(-1).min() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_without_guidance_the_whole_batch_is_read(kind: str, toy_folders: dict[str, Path]) -> None:
    pipe = load_toy(toy_folders[kind])
    with record(pipe.unet) as calls, trace_cross_attention(pipe.unet, COLUMNS, [0, 1]) as trace:
        sample(pipe, guidance_scale=1.0)
    assert trace.guided is False
    assert_by_hand(trace, by_hand(calls[:2], COLUMNS, slice(None)))
    with trace_cross_attention(pipe.unet, COLUMNS, [0]) as trace:
        sample(pipe)
    assert trace.guided is True


def test_lora_layers_are_in_force(pipe: DiffusionPipeline) -> None:
    without, images_without = traced(pipe.unet), sample(pipe)
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["to_q", "to_k"], init_lora_weights=False)
    pipe.unet.add_adapter(config)
    with record(pipe.unet) as calls, trace_cross_attention(pipe.unet, COLUMNS, [0]) as trace:
        run(pipe.unet)
    assert_by_hand(trace, by_hand(calls, COLUMNS, slice(2, 4)))
    for size, value in trace.maps().items():
        assert (value - without[size]).abs().max() > 1e-3
    plain = sample(pipe)
    with trace_cross_attention(pipe.unet, COLUMNS, [0, 1, 2]):
        assert torch.equal(sample(pipe), plain)
    assert not torch.equal(plain, images_without)
    pipe.unet.disable_adapters()
    assert_maps(traced(pipe.unet), without, atol=0, rtol=0)


def test_maps_of_two_steps_are_the_mean_of_each(unet: UNet2DConditionModel) -> None:
    first, third = traced(unet, steps=[0]), traced(unet, steps=[2])
    assert (first[8, 12] - third[8, 12]).abs().max() > 1e-3
    mean = {size: (first[size] + third[size]) / 2 for size in first}
    assert_maps(traced(unet, steps=[0, 2]), mean, atol=1e-7, rtol=1e-5)


def test_only_the_chosen_resolutions_are_read(unet: UNet2DConditionModel) -> None:
    every = traced(unet)
    some = traced(unet, resolutions=[6, 12])
    assert_maps(some, {size: every[size] for size in [(4, 6), (8, 12)]}, atol=0, rtol=0)


def test_samples_with_fewer_phrases_have_zeros_at_the_end(unet: UNet2DConditionModel) -> None:
    for value in traced(unet).values():
        assert value[0, 0].min() > 0 and value[1].min() > 0
        assert value[0, 1].abs().max() == 0


def test_a_phrase_s_map_is_the_mean_of_its_tokens(unet: UNet2DConditionModel) -> None:
    whole = traced(unet, [[[3, 4, 9]], [[2]]])
    pieces = traced(unet, [[[3], [4], [9]], [[2]]])
    for size, value in whole.items():
        torch.testing.assert_close(value[0, 0], pieces[size][0].mean(0))


def test_all_columns_together_are_the_whole_softmax(unet: UNet2DConditionModel) -> None:
    for value in traced(unet, [[[column] for column in range(20)]] * 2).values():
        torch.testing.assert_close(value.sum(1), torch.ones_like(value[:, 0]))


def test_rows_and_columns_of_a_map_are_those_of_the_image(unet: UNet2DConditionModel) -> None:
    """What changes in the top right corner of the latents changes the maps there."""
    corner = LATENTS.clone()
    corner[:, :, :2, 9:] = 4 * noise(4, 4, 2, 3, seed=9)
    before = traced(unet)[8, 12]
    with trace_cross_attention(unet, COLUMNS, [0]) as trace:
        run(unet, corner)
    change = (trace.maps()[8, 12] - before).abs()[1, 0]
    inside = change[:4, 7:].mean()  # a few 3x3 convolutions reach past the corner
    assert inside > 2 * change[4:, :7].mean()
    assert divmod(int(change.argmax()), 12)[0] < 4 and divmod(int(change.argmax()), 12)[1] >= 7


def test_odd_latents(pipe: DiffusionPipeline) -> None:
    with record(pipe.unet) as calls, trace_cross_attention(pipe.unet, COLUMNS, [1]) as trace:
        sample(pipe, height=72, width=104)
    assert list(trace.maps()) == [(2, 2), (3, 4), (5, 7), (9, 13)]
    assert_by_hand(trace, by_hand(calls[1:2], COLUMNS, slice(2, 4)))


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float16, 1e-2), (torch.bfloat16, 5e-2)])
def test_half_precision_is_close_to_single(
    unet: UNet2DConditionModel, dtype: torch.dtype, atol: float
) -> None:
    single = traced(unet)
    half = traced(unet.to(dtype))
    assert {value.dtype for value in half.values()} == {torch.float32}
    assert_maps(half, single, atol=atol, rtol=0)


def test_products_that_overflow_half_precision_stay_finite(toy_folders: dict[str, Path]) -> None:
    """Stable Diffusion 2.x asks for upcast attention because its products do."""
    unet = load_toy(toy_folders["2.x"]).unet
    for layer in unet.modules():
        if isinstance(layer, Attention) and layer.is_cross_attention:
            layer.to_q.weight.data *= 100
            layer.to_k.weight.data *= 1000
    unet.half()
    assert all(value.isfinite().all() for value in traced(unet).values())
    for layer in unet.modules():
        if isinstance(layer, Attention):
            layer.upcast_attention = False
    assert not all(value.isfinite().all() for value in traced(unet).values())


def test_a_sample_s_maps_do_not_depend_on_its_batch(pipe: DiffusionPipeline) -> None:
    texts, columns = [*TEXTS, "an automobile"], [*COLUMNS, [[2], [3]]]
    with trace_cross_attention(pipe.unet, columns, [0, 2]) as trace:
        sample(pipe, texts)
    together = trace.maps()
    for i, (text, phrases) in enumerate(zip(texts, columns, strict=True)):
        with trace_cross_attention(pipe.unet, [phrases], [0, 2]) as trace:
            generator = torch.Generator().manual_seed(5 + i)
            pipe(text, height=64, width=96, num_inference_steps=3, generator=generator)
        for size, value in trace.maps().items():
            expected = together[size][i, : len(phrases)]
            torch.testing.assert_close(value[0], expected, atol=1e-4, rtol=0)


def test_nested_traces_read_what_each_reads_alone(unet: UNet2DConditionModel) -> None:
    others = [[[7]], [[8]]]
    with (
        trace_cross_attention(unet, COLUMNS, [0, 1]) as outer,
        trace_cross_attention(unet, others, [1, 2], resolutions=[12]) as inner,
        trace_self_attention(unet, 2, 1, 6) as own,
    ):
        run(unet, steps=3)
    assert_maps(outer.maps(), traced(unet, steps=[0, 1]), atol=0, rtol=0)
    alone = traced(unet, others, [1, 2], resolutions=[12])
    assert_maps(inner.maps(), alone, atol=0, rtol=0)
    with trace_self_attention(unet, 2, 1, 6) as trace:
        run(unet, steps=2)
    assert torch.equal(own.matrix()[1], trace.matrix()[1])
    assert hook_count(unet) == 0


def test_a_mask_of_the_text_is_in_force(unet: UNet2DConditionModel) -> None:
    """Tokens that the pipeline masks out get no attention."""
    mask = torch.ones(4, 20)
    mask[:, 5:] = 0
    with torch.no_grad(), trace_cross_attention(unet, [[[2], [6]]] * 2, [0]) as trace:
        unet(LATENTS, 10, encoder_hidden_states=CONTEXT, encoder_attention_mask=mask)
    for value in trace.maps().values():
        assert value[:, 0].min() > 0 and value[:, 1].max() == 0


# What is left behind


class CountingProcessor(AttnProcessor2_0):
    """One that a user might have set."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        self.calls += 1
        return super().__call__(*args, **kwargs)


@pytest.mark.parametrize("setting", ["default", "custom", "sliced"])
def test_processors_are_left_as_they_are(pipe: DiffusionPipeline, setting: str) -> None:
    unet: UNet2DConditionModel = pipe.unet
    reference = traced(unet)
    counter = CountingProcessor()
    if setting == "custom":
        unet.set_attn_processor(counter)
    elif setting == "sliced":
        pipe.enable_attention_slicing(1)
        assert {type(one) for one in unet.attn_processors.values()} == {SlicedAttnProcessor}
    before = unet.attn_processors

    def unchanged() -> bool:
        now = unet.attn_processors
        return list(now) == list(before) and all(now[name] is before[name] for name in before)

    plain = sample(pipe)
    counted = counter.calls
    with trace_cross_attention(unet, COLUMNS, [0, 2]):
        assert torch.equal(
            sample(pipe, callback_on_step_end=lambda *_: {} if unchanged() else 1), plain
        )
        assert unchanged()
    assert unchanged()
    assert counter.calls == 2 * counted
    assert (counted > 0) == (setting == "custom")
    assert_maps(traced(unet), reference, atol=1e-6, rtol=1e-5)
    with pytest.raises(ZeroDivisionError), trace_cross_attention(unet, COLUMNS, [0]):
        run(unet)
        raise ZeroDivisionError
    assert unchanged()


class FailingProcessor(AttnProcessor2_0):
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        super().__call__(*args, **kwargs)
        raise self.error


def test_no_hooks_are_left(unet: UNet2DConditionModel) -> None:
    assert hook_count(unet) == 0
    with trace_cross_attention(unet, COLUMNS, [1]):
        run(unet)
        assert hook_count(unet) == 2  # between the steps that are read, the UNet's own alone
        run(unet)
        assert hook_count(unet) == 2
    assert hook_count(unet) == 0
    with pytest.raises(ZeroDivisionError), trace_cross_attention(unet, COLUMNS, [1]):
        raise ZeroDivisionError
    assert hook_count(unet) == 0
    layer = unet.mid_block.attentions[0].transformer_blocks[0].attn2
    layer.processor = FailingProcessor(ZeroDivisionError)
    with trace_cross_attention(unet, COLUMNS, [0]):
        with pytest.raises(ZeroDivisionError):
            run(unet)
        assert hook_count(unet) == 2
    assert hook_count(unet) == 0
    layer.processor = FailingProcessor(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt), trace_cross_attention(unet, COLUMNS, [0]):
        run(unet)
    assert hook_count(unet) == 0


def live_bytes() -> int:
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if type(thing) is Tensor]
    return sum(one.numel() * one.element_size() for one in tensors)


def test_what_is_kept_does_not_grow_with_the_steps(small_unet: UNet2DConditionModel) -> None:
    with trace_cross_attention(small_unet, COLUMNS, range(300)) as trace:
        run(small_unet, steps=3)
        after_three = live_bytes()
        run(small_unet, steps=297)
        assert live_bytes() == after_three
    assert trace.step == 299
    assert {size: value.shape for size, value in trace.maps().items()} == {(8, 12): (2, 2, 8, 12)}


# Self-attention


def test_self_attention_is_the_layers_own(pipe: DiffusionPipeline) -> None:
    with record(pipe.unet, "attn1") as calls, trace_self_attention(pipe.unet, 2, 1, 6) as trace:
        plain = sample(pipe)
    assert torch.equal(sample(pipe), plain)
    size, matrix = trace.matrix()
    assert (size, matrix.shape, matrix.dtype) == ((4, 6), (2, 24, 24), torch.float32)
    torch.testing.assert_close(matrix.sum(-1), torch.ones(2, 24))
    layers = [entry for entry in calls[1] if entry[1].shape[1] == 24]
    assert len(layers) == 3  # one on the way down, two on the way up
    both = torch.stack([attention(*entry) for entry in layers]).mean(0)
    torch.testing.assert_close(matrix, both[2:], atol=1e-6, rtol=1e-5)
    assert (matrix - both[:2]).abs().max() > 1e-3  # not the unconditional half's


def test_self_attention_of_a_resolution_that_is_not_there(unet: UNet2DConditionModel) -> None:
    with trace_self_attention(unet, 2, 0, 5) as trace:
        run(unet)
    expected = r"no self-attention was traced: step \[0\], resolution 5; .* called 1 times"
    with pytest.raises(RuntimeError, match=expected):
        trace.matrix()


# To the host


def test_to_host_copies_once(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = {(2, 3): noise(2, 1, 2, 3), "self": noise(1, 4, 4, seed=1), (1, 1): noise(1, 1, 1, 1)}
    copies = []
    copy = Tensor.cpu
    monkeypatch.setattr(Tensor, "cpu", lambda tensor: copies.append(tensor.shape) or copy(tensor))
    arrays = to_host(maps)
    assert copies == [(12 + 16 + 1,)]
    assert list(arrays) == list(maps)
    for key, array in arrays.items():
        assert array.dtype == np.float16
        assert np.array_equal(array, maps[key].numpy().astype(np.float16))


# Compiled UNets


class Graphs:
    """A compiler that compiles nothing and counts what it gets."""

    def __init__(self) -> None:
        self.compiled = 0
        self.called = 0

    def __call__(self, graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., Any]:
        self.compiled += 1

        def call(*args: Any) -> Any:
            self.called += 1
            return graph.forward(*args)

        return call


@pytest.mark.parametrize(("how", "per_call"), [("whole", 1), ("blocks", 4)])
def test_a_compiled_unet_runs_uncompiled_only_where_it_is_read(
    small_unet: UNet2DConditionModel, how: str, per_call: int
) -> None:
    expected = traced(small_unet, steps=[2])
    torch._dynamo.reset()
    graphs = Graphs()
    unet: nn.Module = small_unet
    if how == "whole":
        unet = torch.compile(small_unet, backend=graphs)
    else:
        small_unet.compile_repeated_blocks(backend=graphs)
    calls = []
    latents = LATENTS
    with (
        trace_cross_attention(unet, COLUMNS, [2]) as trace,
        trace_cross_attention(unet, COLUMNS, [2]) as nested,
    ):
        for _ in range(5):  # the first call compiles, with the traces in place
            before = graphs.called
            latents = run(unet, latents)
            calls.append(graphs.called - before)
    assert calls == [per_call, per_call, 0, per_call, per_call]
    assert_maps(trace.maps(), expected, atol=1e-6, rtol=1e-5)
    assert_maps(nested.maps(), expected, atol=1e-6, rtol=1e-5)
    before = graphs.called
    run(unet)
    assert graphs.called - before == per_call
    assert graphs.compiled == 1  # blocks of one shape share a graph


def test_an_exception_at_a_step_that_is_read_leaves_the_compiler_on(
    small_unet: UNet2DConditionModel,
) -> None:
    torch._dynamo.reset()
    graphs = Graphs()
    small_unet.compile_repeated_blocks(backend=graphs)
    with (
        pytest.raises(ValueError, match="expected 3 or, guided, 6"),
        trace_cross_attention(small_unet, [[[2]]] * 3, [0]),
    ):
        run(small_unet)
    run(small_unet)
    assert graphs.called == 4


def test_traced_images_of_a_compiled_unet_are_its_plain_ones(pipe: DiffusionPipeline) -> None:
    plain = sample(pipe)
    torch._dynamo.reset()
    pipe.unet.compile_repeated_blocks(backend="eager")
    with trace_cross_attention(pipe.unet, COLUMNS, [1]) as trace:
        images = sample(pipe)
    assert torch.equal(images, plain)
    assert list(trace.maps()) == SIZES["1.x"]


# What is refused


def test_a_unet_compiled_in_place_is_refused(unet: UNet2DConditionModel) -> None:
    unet.compile(backend="eager")
    with (
        pytest.raises(InputError, match=r"compiled in place.*torch.compile\(pipeline.unet\)"),
        trace_cross_attention(unet, COLUMNS, [0]),
    ):
        pass


def test_fused_projections_are_refused_until_they_are_unfused(unet: UNet2DConditionModel) -> None:
    expected = traced(unet)
    unet.fuse_qkv_projections()
    for trace in (trace_cross_attention(unet, COLUMNS, [0]), trace_self_attention(unet, 2, 0, 6)):
        with (
            pytest.raises(InputError, match=r"fused.*call unfuse_qkv_projections\(\) first"),
            trace,
        ):
            pass
    unet.unfuse_qkv_projections()
    assert_maps(traced(unet), expected, atol=0, rtol=0)


class HidingProcessor:
    """One that computes its queries itself."""

    def __call__(self, layer: Attention, hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        return nn.functional.linear(hidden, layer.to_q.weight)


def test_a_processor_that_hides_its_queries_is_refused(unet: UNet2DConditionModel) -> None:
    unet.mid_block.attentions[0].transformer_blocks[0].attn2.processor = HidingProcessor()
    expected = r"HidingProcessor attends without .* unet.set_attn_processor\(AttnProcessor2_0\(\)\)"
    with pytest.raises(InputError, match=expected), trace_cross_attention(unet, COLUMNS, [0]):
        run(unet)
    unet.set_attn_processor(AttnProcessor2_0())
    assert list(traced(unet)) == SIZES["1.x"]


def transformer() -> nn.Module:
    return PixArtTransformer2DModel(
        num_attention_heads=1, attention_head_dim=8, cross_attention_dim=8, num_layers=1,
        sample_size=4, caption_channels=8,
    )  # fmt: skip


def unconditional_unet() -> nn.Module:
    return UNet2DModel(
        block_out_channels=(8,), norm_num_groups=4, attention_head_dim=4,
        down_block_types=("AttnDownBlock2D",), up_block_types=("AttnUpBlock2D",),
    )  # fmt: skip


def plain_unet() -> nn.Module:
    return UNet2DConditionModel(
        block_out_channels=(8,), norm_num_groups=4, mid_block_type=None,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    )  # fmt: skip


@pytest.mark.parametrize("build", [transformer, unconditional_unet, plain_unet])
def test_networks_that_cannot_be_read_are_refused(build: Callable[[], nn.Module]) -> None:
    network = build()
    expected = (
        rf"{type(network).__name__}: its cross-attention cannot be read; supported are pipelines "
        r"with a UNet2DConditionModel \(Stable Diffusion 1.x, 2.x, XL\)"
    )
    with pytest.raises(InputError, match=expected), trace_cross_attention(network, COLUMNS, [0]):
        pass
    with (
        pytest.raises(InputError, match="its self-attention"),
        trace_self_attention(network, 1, 0, 4),
    ):
        pass
    assert hook_count(network) == 0


def test_a_wrong_number_of_samples_is_said(pipe: DiffusionPipeline) -> None:
    with (
        pytest.raises(ValueError, match="3 samples, but the UNet runs a batch of 4; expected 3"),
        trace_cross_attention(pipe.unet, [[[2]]] * 3, [0]),
    ):
        sample(pipe)


def test_a_step_or_resolution_that_never_comes_is_said(pipe: DiffusionPipeline) -> None:
    with trace_cross_attention(pipe.unet, COLUMNS, [9], resolutions=[12]) as trace:
        sample(pipe)
    expected = r"no attention was traced: steps \[9\], resolutions \[12\]; .* called 3 times"
    with pytest.raises(RuntimeError, match=expected):
        trace.maps()
