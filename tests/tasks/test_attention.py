from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTokenizer

from storybook.base_model.parts import (
    build_autoencoder,
    build_scheduler,
    build_text_encoder,
    build_unet,
    train_tokenizer,
)
from tasks.attention import phrase_columns, trace_cross_attention
from tasks.params import InputError


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> StableDiffusionPipeline:
    tokenizer = train_tokenizer(
        ["a red domestic dog and an oak on grass"], tmp_path_factory.mktemp("t")
    )
    torch.manual_seed(0)
    pipe = StableDiffusionPipeline(
        vae=build_autoencoder(),
        text_encoder=build_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=build_unet((32, 32, 32)),
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sample(pipe: StableDiffusionPipeline, texts: list[str], **kwargs: object) -> torch.Tensor:
    generators = [torch.Generator().manual_seed(5 + i) for i in range(len(texts))]
    return pipe(
        texts, num_inference_steps=3, generator=generators, output_type="pt", **kwargs
    ).images


def test_columns_follow_the_span_not_the_word(pipeline: StableDiffusionPipeline) -> None:
    tokenizer: CLIPTokenizer = pipeline.tokenizer
    # start, a, domestic, dog, and, an, oak, end
    assert phrase_columns(tokenizer, "a domestic dog and an oak", [(2, 14), (22, 25)]) == [
        [2, 3],
        [6],
    ]
    # "an" also stands inside "and": only the marked characters count
    assert phrase_columns(tokenizer, "a dog and an oak", [(10, 12)]) == [[4]]


def test_an_unknown_word_has_all_its_pieces(pipeline: StableDiffusionPipeline) -> None:
    pieces = len(pipeline.tokenizer.tokenize("zebra"))
    assert pieces > 1
    assert phrase_columns(pipeline.tokenizer, "a zebra", [(2, 7)]) == [list(range(2, 2 + pieces))]


def test_a_phrase_past_the_encoder_is_an_error(pipeline: StableDiffusionPipeline) -> None:
    text = "a red " * 10 + "dog"
    with pytest.raises(InputError, match=r"'dog' lies past the text encoder's 20 tokens"):
        phrase_columns(pipeline.tokenizer, text, [(len(text) - 3, len(text))])


def test_images_are_bit_identical_and_hooks_are_gone(pipeline: StableDiffusionPipeline) -> None:
    texts = ["a dog", "an oak on grass"]
    plain = sample(pipeline, texts)
    with trace_cross_attention(pipeline.unet, [[[2]], [[2], [4]]], [1], text_length=20) as trace:
        traced = sample(pipeline, texts, callback_on_step_end=trace.on_step_end)
    assert torch.equal(plain, traced)
    assert {size: tuple(m.shape) for size, m in trace.maps().items()} == {
        (4, 4): (2, 2, 4, 4),
        (8, 8): (2, 2, 8, 8),
        (16, 16): (2, 2, 16, 16),
    }
    assert trace.maps()[16, 16][0, 1].abs().max() == 0  # the first sample has one phrase
    with (
        pytest.raises(ZeroDivisionError),
        trace_cross_attention(pipeline.unet, [[[2]]], [0], text_length=20),
    ):
        raise ZeroDivisionError
    assert all(not m._forward_pre_hooks for m in pipeline.unet.modules())


def test_maps_equal_the_layers_own_attention_of_the_conditional_half(
    pipeline: StableDiffusionPipeline,
) -> None:
    """The softmax columns, recomputed by hand from the inputs of one call of the UNet."""
    unet: UNet2DConditionModel = pipeline.unet
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(4, 4, 16, 16, generator=generator)
    context = torch.randn(4, 20, 128, generator=generator)
    seen: list[tuple[nn.Module, torch.Tensor]] = []
    layers = [m for name, m in unet.named_modules() if name.endswith("attn2")]
    handles = [
        layer.register_forward_pre_hook(
            lambda m, args, kwargs: seen.append((m, args[0])), with_kwargs=True
        )
        for layer in layers
    ]
    columns = [[[3, 4]], [[7]]]
    with torch.no_grad(), trace_cross_attention(unet, columns, [0], text_length=20) as trace:
        unet(latents, 10, encoder_hidden_states=context)
    for handle in handles:
        handle.remove()
    expected = []
    for layer, hidden in seen:
        if hidden.shape[1] != 256:
            continue
        with torch.no_grad():
            query = layer.to_q(hidden[2:]).reshape(2, 256, layer.heads, -1)
            key = layer.to_k(context[2:]).reshape(2, 20, layer.heads, -1)
            scores = torch.einsum("bnhd,blhd->bhnl", query, key) / query.shape[-1] ** 0.5
            full = scores.softmax(-1).mean(1)
        expected.append(torch.stack([full[0, :, [3, 4]].mean(-1), full[1, :, 7]]))
    assert len(expected) == 3
    torch.testing.assert_close(
        trace.maps()[16, 16][:, 0].flatten(1), torch.stack(expected).mean(0), atol=1e-6, rtol=1e-5
    )


def test_without_guidance_the_whole_batch_is_conditional(pipeline: StableDiffusionPipeline) -> None:
    with trace_cross_attention(
        pipeline.unet, [[[2]]], [1], text_length=20, resolutions=[16]
    ) as trace:
        sample(pipeline, ["a dog"], guidance_scale=1.0, callback_on_step_end=trace.on_step_end)
    assert list(trace.maps()) == [(16, 16)]


def test_a_wrong_number_of_samples_is_said(pipeline: StableDiffusionPipeline) -> None:
    with (
        pytest.raises(ValueError, match="3 samples, but the UNet runs a batch of 4"),
        trace_cross_attention(pipeline.unet, [[[2]]] * 3, [0], text_length=20),
    ):
        sample(pipeline, ["a dog", "an oak"])


def test_a_step_that_never_comes_is_said(pipeline: StableDiffusionPipeline) -> None:
    with trace_cross_attention(pipeline.unet, [[[2]]], [9], text_length=20) as trace:
        sample(pipeline, ["a dog"], callback_on_step_end=trace.on_step_end)
    with pytest.raises(RuntimeError, match=r"no attention was traced: steps \[9\].*reached step 3"):
        trace.maps()


def test_a_network_without_cross_attention_is_refused() -> None:
    with (
        pytest.raises(InputError, match="Linear has no cross-attention layer to read"),
        trace_cross_attention(nn.Linear(1, 1), [[[1]]], [0], text_length=20),
    ):
        pass


def test_the_model_is_saved_and_loaded_like_any_other(
    pipeline: StableDiffusionPipeline, tmp_path: Path
) -> None:
    pipeline.save_pretrained(tmp_path)
    loaded = StableDiffusionPipeline.from_pretrained(tmp_path, safety_checker=None)
    assert isinstance(loaded.scheduler, DDIMScheduler)
    assert loaded.tokenizer("a zebra").input_ids == pipeline.tokenizer("a zebra").input_ids
    loaded.set_progress_bar_config(disable=True)
    assert torch.equal(sample(loaded, ["a dog"]), sample(pipeline, ["a dog"]))
