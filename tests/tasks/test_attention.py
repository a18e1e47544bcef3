"""What a trace reads is what the layers compute, and nothing that it reads changes the images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from peft import LoraConfig
from torch import Tensor

from tasks.attention import to_host, trace_cross_attention, trace_self_attention
from tests.toys.attention import (
    COLUMNS,
    CONTEXT,
    KINDS,
    LATENTS,
    SIZES,
    TEXTS,
    assert_by_hand,
    assert_maps,
    attention,
    by_hand,
    hook_count,
    load_toy,
    noise,
    record,
    run,
    sample,
    traced,
)

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
