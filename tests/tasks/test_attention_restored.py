"""A trace leaves processors, hooks and compilers as they were, and its memory does not grow."""

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0, SlicedAttnProcessor
from torch import Tensor, nn

from tasks.attention import trace_cross_attention
from tests.toys.attention import (
    COLUMNS,
    LATENTS,
    SIZES,
    assert_maps,
    hook_count,
    run,
    sample,
    traced,
)


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
