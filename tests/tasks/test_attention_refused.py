"""What a trace cannot read is refused, with the remedy."""

from collections.abc import Callable
from typing import Any

import pytest
from diffusers import DiffusionPipeline, PixArtTransformer2DModel, UNet2DConditionModel, UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn

from tasks.attention import trace_cross_attention, trace_self_attention
from tasks.params import InputError
from tests.toys.attention import COLUMNS, SIZES, assert_maps, hook_count, run, sample, traced


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
