"""Identities of samples, plans of shards: the same rows, the same shards, whatever is added."""

import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from tasks import records
from tasks.params import Params
from tasks.sample_shards import plan_shards, sample_id, shard_jobs
from tests.toys.sampling import CAPTURE, params, toy_row

ROOT = Path(__file__).parents[2]


def test_shards_are_filled_per_class_and_grow_at_the_end() -> None:
    def row(name: str, number: int) -> dict:
        return {"classes": [{"name": name}], "number": number}

    def planned(rows: list[dict]) -> list[tuple[str, list[int]]]:
        counts = Counter(row["classes"][0]["name"] for row in rows)
        shards = plan_shards(rows, counts, 2)
        return [(name, [row["number"] for row in members]) for name, members in shards]

    rows = [row("car", 0), row("car", 1), row("car", 2), row("dog", 3)]
    assert planned(rows) == [
        ("car-0000.tar", [0, 1]),
        ("car-0001.tar", [2]),
        ("dog-0000.tar", [3]),
    ]
    grown = dict(planned([*rows[:3], row("car", 4), row("car", 5), rows[3], row("fish", 6)]))
    assert [grown[f"car-000{number}.tar"] for number in range(3)] == [[0, 1], [2, 4], [5]]
    assert grown["dog-0000.tar"] == [3] and grown["fish-0000.tar"] == [6]
    mixed = [row("car", 0), row("dog", 1), row("car", 2), row("car", 3), row("dog", 4)]
    assert sorted(planned(mixed)) == [
        ("car-0000.tar", [0, 2]),
        ("car-0001.tar", [3]),
        ("dog-0000.tar", [1, 4]),
    ]


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
    section = params(
        model="m", scheduler="model", num_inference_steps=20, guidance_scale=4.0, capture=capture
    )
    row = toy_row("a dog", "dog")
    assert sample_id(row, section, "m", None, "cpu") == "b054e25fc82ec6ac"
    other = section.model_copy(update={"scheduler": "unipc"})
    assert sample_id(row, other, "m", None, "cpu") == "976d28f5e8469797"
    pipelines = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
    old, xl = (sample_id(row, section, "m", None, "cpu", name) for name in pipelines)
    assert old == "b054e25fc82ec6ac" != xl
    denied = row | {"negative_prompt": "fog"}
    assert len({sample_id(denied, section, "m", None, "cpu", name) for name in pipelines}) == 1


def test_the_recipe_knows_the_pipeline(tmp_path: Path, write_plan: Callable[..., Params]) -> None:
    plan = write_plan(tmp_path)
    before = fingerprints(plan, tmp_path)
    path = tmp_path / "data/inputs/model.json"
    known = records.read_json(path)
    records.write_json(path, known | {"pipeline": "StableDiffusionPipeline"})
    assert fingerprints(plan, tmp_path) == before
    records.write_json(path, known | {"pipeline": "StableDiffusionXLPipeline"})
    assert not fingerprints(plan, tmp_path) & before


def test_a_plan_is_made_as_it_is_asked_for(
    tmp_path: Path, write_plan: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many rows there are, no more than a part of the table and a shard are held."""
    plan = write_plan(tmp_path, images_per_class=30)
    read: list[str] = []
    stream = records.stream_rows

    def watched(path: Path, columns: list[str] | None = None) -> Iterator[dict]:
        for row in stream(path, columns):
            read.append(row.get("prompt_id", ""))
            yield row

    monkeypatch.setattr(records, "stream_rows", watched)
    jobs = shard_jobs(plan, tmp_path)
    assert next(jobs).name == "car-0000.tar" and len(read) == 60 + 4
    assert [job.name for job in jobs] == [
        *(f"car-{number:04d}.tar" for number in range(1, 8)),
        *(f"dog-{number:04d}.tar" for number in range(8)),
    ]
    assert len(read) == 60 + 60


def test_a_plan_needs_no_torch_and_no_device(
    tmp_path: Path, write_plan: Callable[..., Params]
) -> None:
    """The machine that plans may have no GPU, where its workers have one."""
    plan = write_plan(tmp_path, sample_images__device="cuda:1")
    (tmp_path / "plan.pickle").write_bytes(pickle.dumps(plan))
    code = f"""
import pickle, sys
from pathlib import Path
from tasks.sample_shards import shard_jobs, shard_jobs
root = Path({str(tmp_path)!r})
jobs = list(shard_jobs(pickle.loads((root / "plan.pickle").read_bytes()), root))
assert jobs[0].recipe.device == "cuda" and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_jobs_travel(tmp_path: Path, write_plan: Callable[..., Params]) -> None:
    for job in shard_jobs(write_plan(tmp_path), tmp_path):
        again = pickle.loads(pickle.dumps(job))
        assert again == job and again.fingerprint == job.fingerprint and again.ids == job.ids
        assert hash(again.recipe) == hash(job.recipe)


def fingerprints(plan: Params, root: Path) -> set[str]:
    return {job.fingerprint for job in shard_jobs(plan, root)}


def test_a_fingerprint_is_of_all_that_makes_the_bytes(
    tmp_path: Path, write_plan: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = fingerprints(write_plan(tmp_path), tmp_path)
    assert base == fingerprints(write_plan(tmp_path), tmp_path) and len(base) == 4
    for key, value in {
        "batch_size": 3,
        "guidance_scale": 2.0,
        "num_inference_steps": 2,
        "dtype": "float32",
        "device": "cuda",
        "capture.resolutions": [16, 8, 4],
    }.items():
        other = fingerprints(write_plan(tmp_path, **{f"sample_images__{key}": value}), tmp_path)
        assert len(other) == 4 and not other & base, key
    plan = write_plan(tmp_path)
    for path, content in {
        "data/inputs/model.json": {"digest": "n"},
        "models/lora/adapter.json": {"digest": "a"},
    }.items():
        records.write_json(tmp_path / path, content)
        assert not fingerprints(plan, tmp_path) & base, path
        write_plan(tmp_path)
    monkeypatch.setattr(metadata, "version", lambda name: f"another {name}")
    assert not fingerprints(write_plan(tmp_path), tmp_path) & base


@pytest.mark.parametrize(("before", "after", "new"), [(40, 44, 2), (40, 48, 4), (38, 42, 4)])
def test_ten_per_cent_more_prompts_are_ten_per_cent_more_shards(
    tmp_path: Path, write_plan: Callable[..., Params], before: int, after: int, new: int
) -> None:
    """Of each class the last shard may be filled up; all others stay."""
    old = fingerprints(write_plan(tmp_path, images_per_class=before), tmp_path)
    grown = fingerprints(write_plan(tmp_path, images_per_class=after), tmp_path)
    assert len(grown - old) == new
    assert len(old - grown) == (2 if before % 4 else 0)


def test_a_new_class_leaves_the_shards_of_the_others(
    tmp_path: Path, write_plan: Callable[..., Params]
) -> None:
    old = fingerprints(write_plan(tmp_path, expand_prompts__several_share=0.0), tmp_path)
    more = {"expand_prompts__several_share": 0.0, "expand_prompts__classes": ["car", "dog", "fish"]}
    grown = fingerprints(write_plan(tmp_path, **more), tmp_path)
    assert old < grown and len(grown) == 6
