import hashlib
import pickle
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import extract_masks, records
from tasks.captures import Captured
from tasks.extract_masks import compute_shard
from tasks.label_maps import decode, encode_image
from tasks.mask_shards import shard_jobs
from tasks.masks import Mask, Sampled, class_maps, extract, score_stack
from tasks.params import InputError, Params
from tasks.shards import Member, write_shard
from tasks.uncertainty import label_variance
from tasks.work_store import WorkStore


def sampled(maps: np.ndarray, names: list[str]) -> Sampled:
    """A black picture whose middle step shows ``maps (phrases, 4, 4)``."""
    cross = {("middle", (4, 4)): maps.astype(np.float16)}
    return Sampled(np.zeros((8, 8, 3), np.uint8), names, Captured(cross, {}))


def halves() -> np.ndarray:
    """The first phrase above, the second in the last column."""
    maps = np.zeros((2, 4, 4))
    maps[0, :2, :3], maps[1, :, 3] = 0.25, 0.5
    return maps


def write_samples(root: Path, samples: list[Sampled]) -> None:
    files, prompts, index = [], [], []
    for i, each in enumerate(samples):
        files.append((f"s{i}.png", encode_image(each.image)))
        files.append((f"s{i}.attention.safetensors", each.captured.encode()))
        classes = [
            {
                "name": name,
                "phrase": name,
                "start": 0,
                "end": 3,
                "relation": "plain",
                "depth": 0,
                "synset": "",
            }
            for name in each.names
        ]
        prompts.append({"prompt_id": f"{i:016x}", "seed": i, "text": "a car", "classes": classes})
    path = root / "data/samples/shards/car-0000.tar"
    members = write_shard(path, files)
    for i in range(len(samples)):
        image, attention = members[2 * i : 2 * i + 2]
        index.append(
            {
                "sample_id": f"s{i}",
                "prompt_id": f"{i:016x}",
                "seed": i,
                "shard": "data/samples/shards/car-0000.tar",
                "image_offset": image.offset,
                "image_size": image.size,
                "attention_offset": attention.offset,
                "attention_size": attention.size,
                "shard_digest": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
        )
    records.write_table(root / "data/prompts.parquet", prompts, records.PROMPTS)
    records.write_table(root / "data/samples/index.parquet", index, records.SAMPLES)


def test_the_stage_keeps_samples_and_masks_together(
    tmp_path: Path, make_params: Callable[..., Params]
) -> None:
    """One, two and again one class: batches do not follow the order of the index."""
    single = np.zeros((1, 4, 4))
    single[0, 0] = 1
    samples = [
        sampled(single, ["dog"]),
        sampled(halves(), ["car", "dog"]),
        sampled(single[:, ::-1], ["car"]),
    ]
    write_samples(tmp_path, samples)
    params = make_params(
        {"extract_masks.batch_size": 2, "extract_masks.attn2mask.resolutions": None}
    )
    extract_masks.run(params, tmp_path)
    index = records.read_rows(tmp_path / "data/masks/index.parquet")
    assert [row["sample_id"] for row in index] == ["s0", "s1", "s2"]
    assert [[c["name"] for c in row["classes"]] for row in index] == [
        ["dog"],
        ["car", "dog"],
        ["car"],
    ]
    values = params.expand_prompts.label_values
    for row, each in zip(index, samples, strict=True):
        expected = extract([each], values, params.extract_masks)[0]
        path = str(tmp_path / row["shard"])
        label = decode(Member(path, row["label_offset"], row["label_size"]).read())
        trust = decode(Member(path, row["reliability_offset"], row["reliability_size"]).read())
        assert (
            zlib.crc32(Member(path, row["label_offset"], row["label_size"]).read())
            == (row["label_crc32"])
        )
        assert np.array_equal(label, expected.label)
        assert np.abs(trust.astype(int) - expected.reliability).max() <= 2
    shard = (tmp_path / "data/masks/shards/car-0000.tar").read_bytes()
    extract_masks.run(params, tmp_path)
    assert (tmp_path / "data/masks/shards/car-0000.tar").read_bytes() == shard


def test_the_labels_variance_is_stored_when_it_is_asked_for(
    tmp_path: Path, make_params: Callable[..., Params]
) -> None:
    ramp = np.linspace(0, 1, 16).reshape(1, 4, 4)
    write_samples(tmp_path, [sampled(ramp, ["dog"]), sampled(halves(), ["car", "dog"])])
    changes = {"extract_masks.attn2mask.resolutions": None, "extract_masks.refine": "none"}
    extract_masks.run(make_params(changes), tmp_path)
    without = records.read_rows(tmp_path / "data/masks/index.parquet")
    assert all(row["uncertainty_size"] is None for row in without)

    scalings = [0.5, 1.0, 2.0]
    params = make_params({**changes, "extract_masks.response_scalings": scalings})
    extract_masks.run(params, tmp_path)
    first = records.read_rows(tmp_path / "data/masks/index.parquet")[0]
    path = str(tmp_path / first["shard"])
    stored = decode(Member(path, first["uncertainty_offset"], first["uncertainty_size"]).read())
    batch = [sampled(ramp, ["dog"])]
    stack = score_stack(batch, class_maps(batch, params.extract_masks), params.extract_masks)
    expected = label_variance(stack, scalings)[0] * 255
    assert 0 < (stored > 0).mean() < 1
    np.testing.assert_allclose(stored, expected, atol=0.51)
    for part in ("label", "reliability"):
        one, other = (
            Member(path, row[f"{part}_offset"], row[f"{part}_size"]) for row in (first, without[0])
        )
        assert one.size == other.size


def masks_of(root: Path) -> dict[str, bytes]:
    files = sorted((root / "data/masks").rglob("*.*"))
    return {path.name: path.read_bytes() for path in files}


def test_finished_masks_are_linked_and_damaged_ones_extracted_again(
    tmp_path: Path, make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_samples(tmp_path, [sampled(halves(), ["car", "dog"])] * 3)
    params = make_params({"extract_masks.attn2mask.resolutions": None})
    extract_masks.run(params, tmp_path)
    before, calls = masks_of(tmp_path), []

    def watched(*args: Any) -> list[Mask]:
        calls.append(1)
        return extract(*args)

    monkeypatch.setattr(extract_masks, "extract", watched)
    extract_masks.run(params, tmp_path)
    assert masks_of(tmp_path) == before and not calls
    with open(tmp_path / "data/masks/shards/car-0000.tar", "r+b") as file:
        file.seek(700)
        file.write(b"flip")
    extract_masks.run(params, tmp_path)
    assert masks_of(tmp_path) == before and len(calls) == 1


def test_masks_are_not_made_of_damaged_samples(
    tmp_path: Path, make_params: Callable[..., Params]
) -> None:
    write_samples(tmp_path, [sampled(halves(), ["car", "dog"])])
    with open(tmp_path / "data/samples/shards/car-0000.tar", "r+b") as file:
        file.seek(700)
        file.write(b"flip")
    with pytest.raises(InputError, match=r"car-0000\.tar: is damaged"):
        extract_masks.run(make_params(), tmp_path)
    assert not (tmp_path / "data/masks/index.parquet").exists()


def test_a_shard_of_masks_is_the_same_wherever_it_is_extracted(
    tmp_path: Path, make_params: Callable[..., Params]
) -> None:
    """Also on a machine that gets the samples with the job."""
    write_samples(tmp_path, [sampled(halves(), ["car", "dog"]), sampled(halves()[:1], ["dog"])])
    params = make_params({"extract_masks.attn2mask.resolutions": None})
    store = WorkStore("extract_masks", tmp_path)
    (job,) = store.missing(shard_jobs(params, tmp_path))
    travelled = pickle.loads(pickle.dumps(job.with_data(tmp_path)))
    assert travelled.fingerprint == job.fingerprint
    shard = compute_shard(travelled, tmp_path / "nowhere")
    extract_masks.run(params, tmp_path)
    finished = store.find(job.fingerprint)
    assert finished and finished.path.read_bytes() == shard.data
    assert finished.entries == shard.entries


def test_a_worker_that_would_make_other_masks_refuses(
    tmp_path: Path, make_params: Callable[..., Params]
) -> None:
    write_samples(tmp_path, [sampled(halves(), ["car", "dog"])])
    (job,) = shard_jobs(make_params(), tmp_path)
    with pytest.raises(InputError, match=r"code of tasks/ or the libraries.*instead of abc; bring"):
        compute_shard(replace(job, code="abc"), tmp_path)
