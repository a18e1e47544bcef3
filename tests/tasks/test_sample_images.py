"""The stage: samples that belong to their rows, whatever the batches, and their index."""

import hashlib
import logging
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from tasks import records, sample_images
from tasks.captures import decode_capture
from tasks.label_maps import decode
from tasks.lora_trainer import Job
from tasks.model_digest import model_digest
from tasks.params import InputError, Params, SampleImages, load_params
from tasks.pipelines import load_pipeline
from tasks.sample_shards import sample_id
from tasks.sampling import sample_batch
from tasks.shards import Member
from tasks.work_store import Finished, Shard, WorkStore
from tests.toys.sampling import params, toy_row, train_toy

ROOT = Path(__file__).parents[2]


def write_inputs(root: Path, rows: list[dict], model: Path = ROOT / "models/storybook-sd") -> str:
    """What the stage reads; returns the model's digest."""
    digest = model_digest(str(model), root)
    records.write_table(root / "data/prompts.parquet", rows, records.PROMPTS)
    records.write_json(root / "data/inputs/model.json", {"digest": digest})
    records.write_json(root / "models/lora/adapter.json", {"source": "none", "digest": None})
    return digest


def test_the_stage_takes_the_adapter_and_names_samples_by_it(
    toy_folders: dict[str, Path], make_job: Callable[..., Job], tmp_path: Path
) -> None:
    whole = load_params(ROOT / "presets/storybook.yaml")
    capture = {"steps": ["middle"], "resolutions": None, "self_attention": None}
    section = params(model=str(toy_folders["1.x"]), num_inference_steps=1, capture=capture)
    row = toy_row("a dog and an oak", "dog")
    row["classes"] = [row["classes"][0] | {"phrase": "dog", "relation": "plain", "depth": 0,
                                           "synset": ""}]  # fmt: skip
    model = write_inputs(tmp_path, [row], toy_folders["1.x"])

    def ids(scale: float) -> list[str]:
        adapted = whole.adapt_lora.model_copy(update={"scale": scale})
        changed = whole.model_copy(update={"sample_images": section, "adapt_lora": adapted})
        sample_images.run(changed, tmp_path)
        return [r["sample_id"] for r in records.read_rows(tmp_path / "data/samples/index.parquet")]

    def shard() -> bytes:
        return (tmp_path / "data/samples/shards/dog-0000.tar").read_bytes()

    assert ids(1.0) == ids(0.5) == [sample_id(row, section, model, None, "cpu")]
    plain = shard()
    adapter = train_toy(tmp_path / "models/lora", tmp_path, make_job())
    for scale in (1.0, 0.5):
        assert ids(scale) == [sample_id(row, section, model, (adapter, scale), "cpu")]
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


def test_a_model_that_changed_since_preflight_samples_nothing(
    tmp_path: Path, rows: list[dict], toy_folders: dict[str, Path]
) -> None:
    """Its images would be kept under the ids of the model before."""
    whole = load_params(ROOT / "presets/storybook.yaml")
    whole = whole.model_copy(update={"sample_images": params(model=str(toy_folders["1.x"]))})
    write_inputs(tmp_path, rows)
    with pytest.raises(InputError, match=r"the model .* is not what .*run `dvc repro sample_im"):
        sample_images.run(whole, tmp_path)
    assert not list((tmp_path / ".maskloom").rglob("*.tar"))


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


Plan = Callable[..., Params]


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
