"""What fails while sampling, encoding and writing names its rows, and keeps what is finished."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks import records, sample_images
from tasks.label_maps import encode_image
from tasks.params import InputError, Params, SampleImages
from tasks.sample_images import compute_shard
from tasks.sample_shards import shard_jobs
from tasks.work_store import Finished, Shard, WorkStore

Plan = Callable[..., Params]


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


def cpu_is_full() -> RuntimeError:
    """PyTorch's own, for more bytes than there are addresses."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    return caught.value


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory. Tried ..."), MemoryError(), cpu_is_full()],
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
