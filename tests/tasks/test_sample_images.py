"""The stage: samples and their index, from nothing and from what a stopped run has left."""

import errno
import hashlib
import logging
import pickle
import shutil
import threading
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from tasks import records, sample_images
from tasks.captures import Captured, decode_capture
from tasks.label_maps import decode, encode_image
from tasks.lora_trainer import Job
from tasks.params import InputError, Params, SampleImages, load_params
from tasks.pipelines import load_pipeline
from tasks.sample_images import compute_shard
from tasks.sample_shards import sample_id, shard_jobs
from tasks.sampling import sample_batch
from tasks.shards import Member
from tasks.work_store import Finished, Shard, WorkStore
from tests.toys.sampling import params, toy_row, train_toy

ROOT = Path(__file__).parents[2]


def write_inputs(root: Path, rows: list[dict]) -> None:
    records.write_table(root / "data/prompts.parquet", rows, records.PROMPTS)
    records.write_json(root / "data/inputs/model.json", {"digest": "m"})
    records.write_json(root / "models/lora/adapter.json", {"source": "none", "digest": None})


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


def test_without_guidance_it_is_said(
    tmp_path: Path, rows: list[dict], caplog: pytest.LogCaptureFixture
) -> None:
    whole = load_params(ROOT / "presets/storybook.yaml")
    section = params(guidance_scale=1.0, batch_size=1, num_inference_steps=1, shard_size=1)
    write_inputs(tmp_path, rows[:3])
    caplog.set_level(logging.INFO, logger="tasks.sample_images")
    sample_images.run(whole.model_copy(update={"sample_images": section}), tmp_path)
    said = [message for message in caplog.messages if message.startswith("guidance")]
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


def fake_batch(
    _pipeline: object, section: SampleImages, part: list[dict]
) -> tuple[np.ndarray, list[Captured]]:
    """Noise of the row, with a trace of the batch's size, as rounding leaves one."""
    images = [np.random.default_rng(row["seed"]).integers(0, 255, (8, 8, 3)) for row in part]
    maps = [np.full((len(row["classes"]), 4, 4), 0.5, np.float16) for row in part]
    images[0][0, 0, 0] = len(part)
    return (
        np.array(images, np.uint8),
        [Captured({("middle", (4, 4)): each}) for each in maps],
    )


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """A model that costs nothing, and the seeds of the batches that it was asked for."""
    asked: list[list[int]] = []

    def sample(pipeline: object, section: SampleImages, part: list[dict]) -> Any:
        asked.append([row["seed"] for row in part])
        return fake_batch(pipeline, section, part)

    monkeypatch.setattr(sample_images, "sample_batch", sample)
    monkeypatch.setattr(sample_images, "load_pipeline", lambda *_: None)
    vars(sample_images._held).clear()
    return asked


def outputs(root: Path) -> dict[str, bytes]:
    folder = root / "data/samples"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def wipe(root: Path) -> None:
    """What DVC does before a stage runs."""
    shutil.rmtree(root / "data/samples")


Plan = Callable[..., Params]


def test_a_second_run_samples_nothing_and_loads_no_model(
    tmp_path: Path, write_plan: Plan, sampled: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = write_plan(tmp_path)
    sample_images.run(plan, tmp_path)
    before = outputs(tmp_path)
    assert len(before) == 5 and len(sampled) == 6
    wipe(tmp_path)
    monkeypatch.setattr(sample_images, "Sampler", None)
    sample_images.run(plan, tmp_path)
    assert outputs(tmp_path) == before and len(sampled) == 6


def test_the_index_says_how_a_sample_was_made_and_its_shards_checksum(
    tmp_path: Path, write_plan: Plan, sampled: list
) -> None:
    sample_images.run(write_plan(tmp_path), tmp_path)
    for row in records.stream_rows(tmp_path / "data/samples/index.parquet"):
        shard = (tmp_path / row["shard"]).read_bytes()
        assert row["shard_digest"] == hashlib.sha256(shard).hexdigest()
        assert row["batch_size"] == 2
        at, size = row["image_offset"], row["image_size"]
        assert row["image_crc32"] == zlib.crc32(shard[at : at + size])


@pytest.mark.parametrize("batches", range(6))
def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path,
    write_plan: Plan,
    sampled: list,
    monkeypatch: pytest.MonkeyPatch,
    batches: int,
) -> None:
    """At most the shard in hand is sampled again: two batches here."""
    plan = write_plan(tmp_path)
    write_plan(tmp_path / "whole")
    sample_images.run(plan, tmp_path / "whole")
    sampled.clear()

    with monkeypatch.context() as patch:
        inner = sample_images.sample_batch

        def stopping(*args: Any) -> Any:
            if len(sampled) == batches:
                raise KeyboardInterrupt
            return inner(*args)

        patch.setattr(sample_images, "sample_batch", stopping)
        with pytest.raises(KeyboardInterrupt):
            sample_images.run(plan, tmp_path)
    assert not (tmp_path / "data/samples/index.parquet").exists()
    sample_images.run(plan, tmp_path)
    assert outputs(tmp_path) == outputs(tmp_path / "whole")
    assert len(sampled) - 6 <= 2


def test_a_flipped_byte_is_sampled_again(
    tmp_path: Path, write_plan: Plan, sampled: list, caplog: pytest.LogCaptureFixture
) -> None:
    plan = write_plan(tmp_path)
    sample_images.run(plan, tmp_path)
    before = outputs(tmp_path)
    with open(tmp_path / "data/samples/shards/dog-0001.tar", "r+b") as file:
        file.seek(600)
        file.write(b"edited in place")
    wipe(tmp_path)
    sample_images.run(plan, tmp_path)
    assert "is damaged" in caplog.text
    assert outputs(tmp_path) == before and len(sampled) == 7


def test_ten_per_cent_more_prompts_sample_ten_per_cent_more(
    tmp_path: Path, write_plan: Plan, sampled: list
) -> None:
    sample_images.run(write_plan(tmp_path, images_per_class=40), tmp_path)
    assert len(sampled) == 40
    sample_images.run(write_plan(tmp_path, images_per_class=44), tmp_path)
    assert len(sampled) == 44
    assert len(records.read_rows(tmp_path / "data/samples/index.parquet")) == 88


def test_old_parameters_shards_are_met_again_by_them_alone(
    tmp_path: Path, write_plan: Plan, sampled: list
) -> None:
    sample_images.run(write_plan(tmp_path), tmp_path)
    before = outputs(tmp_path)
    sample_images.run(write_plan(tmp_path, sample_images__guidance_scale=2.0), tmp_path)
    assert len(sampled) == 12 and outputs(tmp_path).keys() == before.keys()
    sample_images.run(write_plan(tmp_path), tmp_path)
    assert len(sampled) == 12 and outputs(tmp_path) == before


def test_a_shard_is_the_same_wherever_it_is_computed(
    tmp_path: Path, write_plan: Plan, sampled: list
) -> None:
    """Workers fill the store, in any order, and the stage finds everything done."""
    plan = write_plan(tmp_path)
    write_plan(tmp_path / "here")
    sample_images.run(plan, tmp_path / "here")
    store = WorkStore("sample_images", tmp_path)
    for job in reversed(list(store.missing(shard_jobs(plan, tmp_path)))):
        travelled = pickle.loads(pickle.dumps(job))
        store.put(job.fingerprint, pickle.loads(pickle.dumps(compute_shard(travelled, tmp_path))))
    sampled.clear()
    sample_images.run(plan, tmp_path)
    assert sampled == [] and outputs(tmp_path) == outputs(tmp_path / "here")


def test_a_worker_that_would_make_other_bytes_refuses(
    tmp_path: Path, write_plan: Plan, sampled: list
) -> None:
    (job, *_) = shard_jobs(write_plan(tmp_path), tmp_path)
    compute_shard(job, tmp_path)
    for changes, message in (
        ({"device": "cuda"}, "planned for cuda, and this machine would sample on cpu"),
        ({"model": "another"}, "the model .*storybook-sd of this machine, .* instead of another"),
        ({"libraries": (("torch", "1.0"),)}, r"libraries of this machine.*\('torch', '1.0'\)"),
        ({"adapter": ("abc", 1.0)}, "the adapter in models/lora.*missing instead of abc"),
    ):
        with pytest.raises(InputError, match=message):
            compute_shard(replace(job, recipe=replace(job.recipe, **changes)), tmp_path)


def test_what_cannot_be_sampled_names_its_prompts(
    tmp_path: Path, write_plan: Plan, sampled: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = write_plan(tmp_path)
    (_, job, *_) = shard_jobs(plan, tmp_path)

    def poisoned(_pipeline: object, _section: SampleImages, part: list[dict]) -> Any:
        raise ValueError("no such token")

    monkeypatch.setattr(sample_images, "sample_batch", poisoned)
    with pytest.raises(ValueError, match="no such token") as caught:
        compute_shard(job, tmp_path)
    named = ", ".join(row["prompt_id"] for row in job.rows)
    assert caught.value.__notes__ == [f"while sampling the prompts {named}"]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried ..."), MemoryError()]
)
def test_out_of_memory_halves_the_batch_and_says_so(
    tmp_path: Path,
    write_plan: Plan,
    sampled: list,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    plan = write_plan(tmp_path, images_per_class=8, sample_images__batch_size=4)
    inner = sample_images.sample_batch

    def small(pipeline: object, section: SampleImages, part: list[dict]) -> Any:
        if len(part) > 2 and len(sampled) > 0:
            raise error
        return inner(pipeline, section, part)

    monkeypatch.setattr(sample_images, "sample_batch", small)
    sample_images.run(plan, tmp_path)
    assert [len(part) for part in sampled] == [4, 2, 2, 2, 2, 2, 2]
    assert "out of memory with 4 images at a time" in caplog.text
    assert "Set sample_images.batch_size: 2" in caplog.text
    index = records.read_rows(tmp_path / "data/samples/index.parquet")
    assert [row["batch_size"] for row in index] == [4] * 4 + [2] * 12
    assert [row["seed"] for row in index] == [seed for part in sampled for seed in part]
    halved = list(shard_jobs(plan, tmp_path))[1]
    finished = WorkStore("sample_images", tmp_path).find(halved.fingerprint)
    assert finished and [entry["batch_size"] for entry in finished.entries] == [2] * 4


def test_out_of_memory_with_one_image_is_the_end(
    tmp_path: Path, write_plan: Plan, sampled: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(sample_images, "sample_batch", none)
    with pytest.raises(InputError, match=r"one image at a time \(CUDA out of memory\); lower"):
        sample_images.run(write_plan(tmp_path), tmp_path)


def test_what_cannot_be_encoded_names_its_sample(
    tmp_path: Path, write_plan: Plan, sampled: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = write_plan(tmp_path)
    calls = iter(range(99))

    def encode(image: np.ndarray) -> bytes:
        if next(calls) == 5:
            raise ValueError("no image")
        return encode_image(image)

    monkeypatch.setattr(sample_images, "encode_image", encode)
    with pytest.raises(ValueError, match="no image") as caught:
        sample_images.run(plan, tmp_path)
    poisoned = list(shard_jobs(plan, tmp_path))[1]
    assert caught.value.__notes__ == [
        f"while encoding sample {poisoned.ids[1]} of shard car-0001.tar"
    ]


def test_a_full_disk_keeps_what_is_finished(
    tmp_path: Path, write_plan: Plan, sampled: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = write_plan(tmp_path)
    put = WorkStore.put

    def full(store: WorkStore, fingerprint: str, shard: Shard) -> Finished:
        if len(list(store.folder.glob("*.tar"))) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(store, fingerprint, shard)

    with monkeypatch.context() as patch:
        patch.setattr(WorkStore, "put", full)
        with pytest.raises(OSError, match="No space left"):
            sample_images.run(plan, tmp_path)
    sampled.clear()
    sample_images.run(plan, tmp_path)
    assert len(sampled) == 3
    assert len(records.read_rows(tmp_path / "data/samples/index.parquet")) == 12


def test_encoding_and_writing_go_on_beside_the_sampling(
    tmp_path: Path, write_plan: Plan, sampled: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first shard's writing waits until the second shard's sampling has begun."""
    second = threading.Event()
    put = WorkStore.put
    inner = sample_images.sample_batch

    def waiting(store: WorkStore, fingerprint: str, shard: Shard) -> Finished:
        assert second.wait(10), "the device waits for the disk"
        return put(store, fingerprint, shard)

    def watched(*args: Any) -> Any:
        if len(sampled) == 2:
            second.set()
        return inner(*args)

    monkeypatch.setattr(WorkStore, "put", waiting)
    monkeypatch.setattr(sample_images, "sample_batch", watched)
    sample_images.run(write_plan(tmp_path), tmp_path)
