"""Sampling a batch: what its attention is, and that neither batch nor order changes a sample."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from tasks.adapters import ADAPTER_FILE
from tasks.attention import trace_cross_attention
from tasks.base_models import read_model
from tasks.captures import Captured
from tasks.lora_trainer import Job
from tasks.params import InputError
from tasks.phrases import phrase_columns
from tasks.pipelines import load_pipeline
from tasks.sampling import sample_batch, step_indices, token_columns, unet_calls
from tests.toys.sampling import CAPTURE, params, toy_row, train_toy

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", ["1.x", "2.x", "XL"])
def test_samples_are_adapted_by_the_scale(
    kind: str, toy_folders: dict[str, Path], make_job: Callable[..., Job], tmp_path: Path
) -> None:
    """At scale 0 the images are the base's; attention is read through the adapter's layers."""
    train_toy(tmp_path, tmp_path, make_job(kind))
    capture = {"steps": ["all"], "resolutions": None, "self_attention": None}
    section = params(model=str(toy_folders[kind]), capture=capture, num_inference_steps=2)
    row = toy_row("a dog and an oak", "dog")

    def sampled(*adapter: Any) -> tuple[np.ndarray, Captured]:
        pipeline = load_pipeline(section, "cpu", Path(), *adapter)
        images, captures = sample_batch(pipeline, section, [row])
        return images, captures[0]

    base, base_captured = sampled()
    off, off_captured = sampled(tmp_path / ADAPTER_FILE, 0.0)
    whole, whole_captured = sampled(tmp_path / ADAPTER_FILE, 1.0)
    half, _ = sampled(tmp_path / ADAPTER_FILE, 0.5)
    assert np.array_equal(off, base)
    assert len({images.tobytes() for images in (base, half, whole)}) == 3
    for key, value in base_captured.cross.items():
        assert np.array_equal(value, off_captured.cross[key])
        assert not np.array_equal(value, whole_captured.cross[key])


def test_a_sample_does_not_depend_on_its_batch(rows: list[dict]) -> None:
    """Neither on the batch's size nor on its order."""
    section = params(capture=CAPTURE)
    pipeline = load_pipeline(section, "cpu")
    images, captures = sample_batch(pipeline, section, rows)
    assert images.shape == (5, 64, 64, 3) and images.dtype == np.uint8
    reversed_images, reversed_captures = sample_batch(pipeline, section, rows[::-1][:3])
    for i in range(3):
        # Arithmetic of another batch size may round otherwise: one grey level at the most.
        assert np.abs(images[4 - i].astype(int) - reversed_images[i]).max() <= 1
        for key, value in captures[4 - i].cross.items():
            np.testing.assert_allclose(value, reversed_captures[i].cross[key], atol=1e-3)


def test_what_is_kept_is_what_the_capture_names(rows: list[dict]) -> None:
    section = params(capture=CAPTURE)
    pipeline = load_pipeline(section, "cpu")
    one_class = rows[0] | {"classes": rows[0]["classes"][:1]}
    _, (first, second) = sample_batch(pipeline, section, [one_class, rows[1]])
    shapes = {key: value.shape for key, value in first.cross.items()}
    assert shapes == {
        (step, (side, side)): (1, side, side) for step in ("0", "all") for side in (8, 16)
    }
    assert {value.shape[0] for value in second.cross.values()} == {2}
    assert {value.dtype for value in first.cross.values()} == {np.dtype(np.float16)}
    assert 0 < first.cross["0", (16, 16)].max() <= 1
    assert not np.array_equal(first.cross["0", (16, 16)], first.cross["all", (16, 16)])
    (matrix,) = first.self_attention.values()
    assert matrix.shape == (64, 64)
    np.testing.assert_allclose(matrix.astype(np.float32).sum(1), 1, atol=5e-3)

    usual = params()
    _, (least,) = sample_batch(pipeline, usual, rows[:1])
    assert set(least.cross) == {("middle", (side, side)) for side in (8, 16)}
    assert not least.self_attention


def test_the_images_do_not_depend_on_what_is_kept(rows: list[dict]) -> None:
    pipeline = load_pipeline(params(), "cpu")
    plain, _ = sample_batch(pipeline, params(), rows[:2])
    all_kept, _ = sample_batch(pipeline, params(capture=CAPTURE), rows[:2])
    assert np.array_equal(plain, all_kept)


@pytest.mark.parametrize(
    ("scheduler", "calls"), [("PNDMScheduler", 5), ("HeunDiscreteScheduler", 7)]
)
def test_all_steps_are_all_calls_of_the_unet(scheduler: str, calls: int, rows: list[dict]) -> None:
    """Schedulers of second order call it more often than there are steps."""
    capture = CAPTURE | {"steps": ["middle", "all"], "self_attention": None}
    section = params(capture=capture, num_inference_steps=4)
    pipeline = load_pipeline(section, "cpu")
    options = {"skip_prk_steps": True} if scheduler == "PNDMScheduler" else {}
    pipeline.scheduler = getattr(diffusers, scheduler).from_config(
        pipeline.scheduler.config, **options
    )
    assert unet_calls(pipeline, 4) == calls
    _, (all_kept,) = sample_batch(pipeline, section, rows[:1])
    each = []
    for call in range(calls):
        with trace_cross_attention(
            pipeline.unet, [token_columns(pipeline, rows[0])], [call], resolutions=[16]
        ) as trace:
            sample_batch(pipeline, section, rows[:1])
        each.append(trace.maps()[16, 16][0])
    mean = torch.stack(each).mean(0).numpy()
    np.testing.assert_allclose(all_kept.cross["all", (16, 16)], mean, atol=1e-3)
    np.testing.assert_allclose(
        all_kept.cross["middle", (16, 16)], each[calls // 2].numpy(), atol=1e-3
    )


def test_guidance_and_the_negative_prompt_are_used(rows: list[dict]) -> None:
    pipeline = load_pipeline(params(), "cpu")
    plain, _ = sample_batch(pipeline, params(), rows[:1])
    weaker, _ = sample_batch(pipeline, params(guidance_scale=2.0), rows[:1])
    other, _ = sample_batch(pipeline, params(), [rows[0] | {"negative_prompt": "a house"}])
    assert not np.array_equal(plain, weaker) and not np.array_equal(plain, other)


@pytest.mark.parametrize("kind", ["1.x", "XL"])
def test_no_negative_prompt_is_what_the_model_knows_as_none(
    kind: str, toy_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zeros for XL; for the others the empty text, as ever."""
    capture = {"steps": ["middle"], "resolutions": None, "self_attention": None}
    section = params(model=str(toy_folders[kind]), num_inference_steps=1, capture=capture)
    pipeline = load_pipeline(section, "cpu")
    seen, unet = [], pipeline.unet.forward

    def watched(sample: torch.Tensor, *args: Any, **given: Any) -> Any:
        seen.append(given["encoder_hidden_states"])
        return unet(sample, *args, **given)

    monkeypatch.setattr(pipeline.unet, "forward", watched)
    row = toy_row("a dog on grass", "dog")
    sample_batch(pipeline, section, [row])
    sample_batch(pipeline, section, [row | {"negative_prompt": "grass"}])
    empty, denied = (each[0] for each in seen)
    assert bool(empty.any()) == (kind != "XL") and denied.any()
    if kind == "1.x":
        encoded = pipeline.encode_prompt([""], "cpu", 1, False)[0]
        assert torch.equal(empty, encoded[0])


def test_pixels_are_rounded(rows: list[dict], monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = load_pipeline(params(), "cpu")
    monkeypatch.setattr(
        pipeline.image_processor, "postprocess", lambda *_, **__: np.full((1, 64, 64, 3), 0.9999)
    )
    images, _ = sample_batch(pipeline, params(), rows[:1])
    assert images.min() == 255


@pytest.mark.parametrize("kind", ["1.x", "2.x", "XL"])
def test_stable_diffusion_of_all_kinds_is_sampled(kind: str, toy_folders: dict[str, Path]) -> None:
    """Non-square too."""
    capture = {"steps": ["middle"], "resolutions": None, "self_attention": None}
    changes = {"model": str(toy_folders[kind]), "capture": capture, "height": 64, "width": 96}
    section = params(**changes)
    pipeline = load_pipeline(section, "cpu")
    images, (captured,) = sample_batch(pipeline, section, [toy_row("a dog on grass", "dog")])
    assert images.shape == (1, 64, 96, 3)
    model = read_model(toy_folders[kind])
    sides = model.attention_resolutions(64, 96)
    assert sorted((max(size) for _, size in captured.cross), reverse=True) == sides
    assert all(w == -(-3 * h // 2) for _, (h, w) in captured.cross)
    assert all(0 < value.max() <= 1 for value in captured.cross.values())


def test_two_tokenizers_have_to_agree(toy_folders: dict[str, Path]) -> None:
    pipeline = load_pipeline(params(model=str(toy_folders["XL"])), "cpu")
    row = toy_row("a dog on grass", "dog")
    columns = token_columns(pipeline, row)
    pipeline.tokenizer_2 = load_pipeline(params(), "cpu").tokenizer
    longer = toy_row("a dachshund on grass", "dachshund")
    assert phrase_columns(pipeline.tokenizer_2, longer["text"], [(2, 11)]) != phrase_columns(
        pipeline.tokenizer, longer["text"], [(2, 11)]
    )
    with pytest.raises(InputError, match=r"two tokenizers split prompt p .* differently"):
        token_columns(pipeline, longer)
    assert len(columns) == 1


@pytest.mark.parametrize(
    ("step", "calls", "expected"),
    [
        ("middle", 20, [10]),
        ("middle", 25, [12]),
        ("middle", 1, [0]),
        (0, 20, [0]),
        (19, 20, [19]),
        ("all", 3, [0, 1, 2]),
    ],
)
def test_entries_of_the_capture_name_calls_of_the_unet(
    step: int | str, calls: int, expected: list[int]
) -> None:
    assert step_indices(step, calls) == expected
