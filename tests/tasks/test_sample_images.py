import hashlib
import logging
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from tasks import records, sample_images
from tasks.adapters import ADAPTER_FILE
from tasks.attention import trace_cross_attention
from tasks.base_models import read_model
from tasks.captures import Captured, decode_capture
from tasks.label_maps import decode
from tasks.lora_trainer import Job, Trainer
from tasks.params import InputError, Params, SampleImages, load_params
from tasks.phrases import phrase_columns
from tasks.pipelines import load_pipeline
from tasks.prompts import expand
from tasks.sample_shards import plan_shards, sample_id, slug
from tasks.sampling import sample_batch, step_indices, token_columns, unet_calls
from tasks.shards import Member

ROOT = Path(__file__).parents[2]


def params(**changes: object) -> SampleImages:
    whole: Params = load_params(ROOT / "presets/storybook.yaml")
    values = whole.sample_images.model_dump() | {
        "model": str(ROOT / "models/storybook-sd"),
        "num_inference_steps": 3,
        "dtype": "float32",
        "device": "cpu",
    }
    return SampleImages.model_validate(values | changes)


CAPTURE = {
    "steps": [0, "all"],
    "resolutions": [16, 8],
    "self_attention": {"resolution": 8, "step": 1},
}


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    section = load_params(ROOT / "presets/storybook.yaml").expand_prompts
    section = section.model_copy(update={"images_per_class": 2, "several_share": 1.0})
    return list(islice(expand(section), 2, 7))  # the first class stands beside none in its rows


def write_inputs(root: Path, rows: list[dict]) -> None:
    records.write_table(root / "data/prompts.parquet", rows, records.PROMPTS)
    records.write_json(root / "data/inputs/model.json", {"digest": "m"})
    records.write_json(root / "models/lora/adapter.json", {"source": "none", "digest": None})


def test_file_names_keep_class_names_apart() -> None:
    assert slug("car") == "car"
    assert slug("Traffic Light") != slug("traffic/light")
    assert slug("../etc").startswith("etc-")


def test_shards_are_filled_per_class_and_grow_at_the_end() -> None:
    def row(name: str, number: int) -> dict:
        return {"classes": [{"name": name}], "number": number}

    rows = [row("car", 0), row("dog", 1), row("car", 2), row("car", 3)]
    assert [(n, [r["number"] for r in m]) for n, m in plan_shards(rows, 2)] == [
        ("car-0000.tar", [0, 2]),
        ("car-0001.tar", [3]),
        ("dog-0000.tar", [1]),
    ]
    grown = dict(plan_shards([*rows, row("car", 4), row("car", 5)], 2))
    assert [r["number"] for r in grown["car-0000.tar"]] == [0, 2]


def test_identity_holds_what_made_the_sample(rows: list[dict]) -> None:
    base = sample_id(rows[0], params(), "m", None, "cpu")
    assert base == sample_id(rows[0], params(batch_size=1, shard_size=3), "m", None, "cpu")
    others = {
        sample_id(rows[1], params(), "m", None, "cpu"),
        sample_id(rows[0], params(guidance_scale=2.0), "m", None, "cpu"),
        sample_id(rows[0], params(capture=CAPTURE), "m", None, "cpu"),
        sample_id(rows[0], params(dtype="bfloat16"), "m", None, "cpu"),
        sample_id(rows[0], params(), "n", None, "cpu"),
        sample_id(rows[0], params(), "m", ("adapter", 1.0), "cpu"),
        sample_id(rows[0], params(), "m", ("another", 1.0), "cpu"),
        sample_id(rows[0], params(), "m", ("adapter", 0.5), "cpu"),
        sample_id(rows[0], params(), "m", None, "cuda"),
    }
    assert len(others | {base}) == 10


def test_identities_stay_what_they_are() -> None:
    """Those of samples made without an adapter, since there were adapters at all."""
    capture = {"steps": ["middle"], "resolutions": None, "self_attention": None}
    section = params(model="m", num_inference_steps=20, capture=capture)
    row = toy_row("a dog", "dog")
    assert sample_id(row, section, "m", None, "cpu") == "b054e25fc82ec6ac"


def train_toy(folder: Path, root: Path, job: Job) -> str:
    """Write what adapt_lora leaves, with an adapter that changes much; returns its digest."""
    trainer = Trainer(job, "cpu", root)
    for step in range(3):
        trainer.step(step)
    trainer.adapter.save(type(trainer.pipeline), folder)
    digest = hashlib.sha256((folder / ADAPTER_FILE).read_bytes()).hexdigest()
    records.write_json(folder / "adapter.json", {"source": "trained", "digest": digest})
    return digest


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


def test_the_stage_takes_the_adapter_and_names_samples_by_it(
    toy_folders: dict[str, Path], make_job: Callable[..., Job], tmp_path: Path
) -> None:
    whole = load_params(ROOT / "presets/storybook.yaml")
    capture = {"steps": ["middle"], "resolutions": None, "self_attention": None}
    section = params(model=str(toy_folders["1.x"]), num_inference_steps=1, capture=capture)
    row = toy_row("a dog and an oak", "dog")
    row["classes"] = [row["classes"][0] | {"phrase": "dog", "relation": "plain", "depth": 0,
                                           "synset": ""}]  # fmt: skip
    write_inputs(tmp_path, [row])

    def ids(scale: float) -> list[str]:
        adapted = whole.adapt_lora.model_copy(update={"scale": scale})
        changed = whole.model_copy(update={"sample_images": section, "adapt_lora": adapted})
        sample_images.run(changed, tmp_path)
        return [r["sample_id"] for r in records.read_rows(tmp_path / "data/samples/index.parquet")]

    def shard() -> bytes:
        return (tmp_path / "data/samples/shards/dog-0000.tar").read_bytes()

    assert ids(1.0) == ids(0.5) == [sample_id(row, section, "m", None, "cpu")]
    plain = shard()
    digest = train_toy(tmp_path / "models/lora", tmp_path, make_job())
    for scale in (1.0, 0.5):
        assert ids(scale) == [sample_id(row, section, "m", (digest, scale), "cpu")]
        assert shard() != plain


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


def test_neither_batch_nor_shard_changes_a_samples_noise(
    tmp_path: Path, rows: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latents that the UNet sees first, by row, bit for bit."""
    first: dict[tuple[int, int], dict[int, torch.Tensor]] = {}
    whole = load_params(ROOT / "presets/storybook.yaml")
    write_inputs(tmp_path, rows)
    for batch_size, shard_size in ((1, 2), (5, 5), (3, 4)):
        noise: dict[int, torch.Tensor] = {}

        def watched(
            pipeline: DiffusionPipeline,
            section: SampleImages,
            part: list[dict],
            noise: dict[int, torch.Tensor] = noise,
        ) -> object:
            def see(_unet: object, args: tuple[torch.Tensor, ...]) -> None:
                latents = args[0][: len(part)]
                for row, one in zip(part, latents, strict=True):
                    noise.setdefault(row["seed"], one.clone())

            handle = pipeline.unet.register_forward_pre_hook(see)
            result = sample_batch(pipeline, section, part)
            handle.remove()
            return result

        monkeypatch.setattr(sample_images, "sample_batch", watched)
        section = params(batch_size=batch_size, shard_size=shard_size)
        sample_images.run(whole.model_copy(update={"sample_images": section}), tmp_path)
        first[batch_size, shard_size] = noise
    one, *others = first.values()
    assert one.keys() == {row["seed"] for row in rows}
    assert len({latents.numpy().tobytes() for latents in one.values()}) == len(rows)
    for other in others:
        assert all(torch.equal(latents, other[seed]) for seed, latents in one.items())


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


def test_pixels_are_rounded(rows: list[dict], monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = load_pipeline(params(), "cpu")
    monkeypatch.setattr(
        pipeline.image_processor, "postprocess", lambda *_, **__: np.full((1, 64, 64, 3), 0.9999)
    )
    images, _ = sample_batch(pipeline, params(), rows[:1])
    assert images.min() == 255


def toy_row(text: str, word: str) -> dict:
    start = text.index(word)
    named = {"name": word, "start": start, "end": start + len(word)}
    return {
        "prompt_id": "p",
        "text": text,
        "negative_prompt": "",
        "classes": [named],
        "seed": 1,
    }


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


def test_without_guidance_it_is_said(
    tmp_path: Path, rows: list[dict], caplog: pytest.LogCaptureFixture
) -> None:
    whole = load_params(ROOT / "presets/storybook.yaml")
    section = params(guidance_scale=1.0, batch_size=1, num_inference_steps=1, shard_size=1)
    write_inputs(tmp_path, rows[:3])
    caplog.set_level(logging.INFO, logger="tasks.sample_images")
    sample_images.run(whole.model_copy(update={"sample_images": section}), tmp_path)
    said = [message for message in caplog.messages if "guidance" in message]
    assert said == ["guidance is off: the whole batch is conditional, and all of it is read"]


def test_two_rows_of_one_sample_stop_before_anything_is_sampled(
    tmp_path: Path, rows: list[dict]
) -> None:
    whole = load_params(ROOT / "presets/storybook.yaml")
    whole = whole.model_copy(update={"sample_images": params(model="nowhere")})
    write_inputs(tmp_path, [rows[0], rows[0]])
    (tmp_path / "data/samples").mkdir()
    (tmp_path / "data/samples/old").touch()
    with pytest.raises(InputError, match="two rows make the same sample"):
        sample_images.run(whole, tmp_path)
    assert (tmp_path / "data/samples/old").exists()


def test_attention_and_image_belong_to_their_row(tmp_path: Path, rows: list[dict]) -> None:
    whole = load_params(ROOT / "presets/storybook.yaml")
    whole = whole.model_copy(update={"sample_images": params(batch_size=2, shard_size=2)})
    write_inputs(tmp_path, rows)
    sample_images.run(whole, tmp_path)
    index = records.read_rows(tmp_path / "data/samples/index.parquet")
    assert [r["seed"] for r in index] == [r["seed"] for r in rows]
    pipeline = load_pipeline(whole.sample_images, "cpu")
    images, captures = sample_batch(pipeline, whole.sample_images, rows[2:4])
    at = index[2]
    stored = decode(
        Member(str(tmp_path / at["shard"]), at["image_offset"], at["image_size"]).read()
    )
    assert np.array_equal(stored, images[0])
    kept = decode_capture(
        Member(str(tmp_path / at["shard"]), at["attention_offset"], at["attention_size"]).read()
    )
    assert np.array_equal(kept.cross["middle", (16, 16)], captures[0].cross["middle", (16, 16)])
    first = {p.name: p.read_bytes() for p in (tmp_path / "data/samples/shards").iterdir()}
    sample_images.run(whole, tmp_path)
    assert first == {p.name: p.read_bytes() for p in (tmp_path / "data/samples/shards").iterdir()}


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
