"""A run takes up what an earlier one, a stopped one or a worker has left, byte for byte."""

import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks import records, sample_images
from tasks.params import InputError, Params
from tasks.sample_images import compute_shard
from tasks.sample_shards import shard_jobs
from tasks.work_store import WorkStore


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
        ({"format": 1}, r"format of samples .* of this machine, .* 2 instead of 1"),
        ({"adapter": ("abc", 1.0)}, "the adapter in models/lora.*missing instead of abc"),
    ):
        with pytest.raises(InputError, match=message):
            compute_shard(replace(job, recipe=replace(job.recipe, **changes)), tmp_path)
