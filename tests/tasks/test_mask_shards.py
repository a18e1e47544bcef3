"""Plans of masks: of the samples as they are, and of all that makes the masks."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks import mask_shards, records
from tasks.mask_shards import CODE, PromptClasses, shard_jobs
from tasks.params import InputError, Params
from tasks.shards import write_shard
from tests.toys.imports import import_closure, tasks

ROOT = Path(__file__).parents[2]
CLASS = {"phrase": "", "start": 0, "end": 1, "relation": "plain", "depth": 0, "synset": ""}


def write_samples(root: Path, shards: dict[str, list[tuple[int, list[str]]]]) -> None:
    """Shards of samples without content: name -> number and classes of each; one seed for all."""
    prompts, index = [], []
    for name, samples in shards.items():
        path = f"data/samples/shards/{name}.tar"
        files = [(f"{seed}.png", b"x" * (seed % 99)) for seed, _ in samples]
        for (seed, names), member in zip(samples, write_shard(root / path, files), strict=True):
            key = f"{seed:016x}"
            prompts.append(
                {"prompt_id": key, "seed": 5, "classes": [{"name": one, **CLASS} for one in names]}
            )
            index.append(
                {
                    "sample_id": f"s{seed}",
                    "prompt_id": key,
                    "seed": 5,
                    "shard": path,
                    "shard_digest": f"digest of {name}",
                    **member.columns("image"),
                }
            )
    records.write_rows(root / "data/prompts.parquet", reversed(prompts), records.PROMPTS)
    records.write_rows(root / "data/samples/index.parquet", index, records.SAMPLES)


SHARDS = {"car-0000": [(7, ["car"]), (3, ["dog", "car"])], "dog-0000": [(5, ["dog"])]}


def test_a_shard_of_masks_belongs_to_a_shard_of_samples(
    tmp_path: Path, make_params: Callable[..., Params]
) -> None:
    write_samples(tmp_path, SHARDS)
    first, second = shard_jobs(make_params(), tmp_path)
    assert (first.name, first.ids, first.names) == (
        "car-0000.tar",
        ["s7", "s3"],
        [("car",), ("dog", "car")],
    )
    assert (second.name, second.ids, second.names) == ("dog-0000.tar", ["s5"], [("dog",)])
    assert pickle.loads(pickle.dumps(first)).fingerprint == first.fingerprint


def test_a_fingerprint_is_of_all_that_makes_the_masks(
    tmp_path: Path, make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fingerprints(root: Path = tmp_path, **changes: object) -> list[str]:
        params = make_params({key.replace("__", "."): value for key, value in changes.items()})
        return [job.fingerprint for job in shard_jobs(params, root)]

    write_samples(tmp_path, SHARDS)
    base = fingerprints()
    assert base == fingerprints() and len(set(base)) == 2
    changed = [
        fingerprints(extract_masks__refine="none"),
        fingerprints(extract_masks__batch_size=3),
        fingerprints(expand_prompts__classes=["dog", "car"]),
        fingerprints(expand_prompts__background="none"),
        # The label maps of many classes have another type.
        fingerprints(expand_prompts__classes=["car", "boat", "dog", *map(str, range(300))]),
    ]
    write_samples(tmp_path / "names", SHARDS | {"car-0000": [(7, ["dog"]), (3, ["dog", "car"])]})
    assert fingerprints(tmp_path / "names")[0] != base[0]
    monkeypatch.setattr(mask_shards, "code_digest", lambda: "another")
    changed.append(fingerprints())
    assert all(not set(other) & set(base) for other in changed)
    # A class that no sample of a shard names leaves it as it is.
    monkeypatch.undo()
    more = ["car", "boat", "tree", "house", "bird", "fish", "dog", "flower", "sheep"]
    assert fingerprints(expand_prompts__classes=more) == base


def test_a_digest_is_of_code_and_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = mask_shards.code_digest.__wrapped__
    base = digest()
    assert base == digest() == mask_shards.code_digest()
    monkeypatch.setattr(mask_shards, "CODE", CODE[1:])
    without_a_file = digest()
    monkeypatch.undo()
    monkeypatch.setattr(mask_shards.metadata, "version", lambda name: f"another {name}")
    assert len({base, without_a_file, digest()}) == 3


def test_the_code_that_makes_masks_is_declared() -> None:
    """Whatever `extract_masks` imports, but for what only moves bytes and rows about."""
    around = ("entry", "mask_shards", "params", "progress", "records", "shards", "work_store")
    code = import_closure(tasks("extract_masks"), without=tasks(*around)) - tasks()
    assert {Path(path).name for path in code} == set(CODE)


def test_damaged_or_missing_samples_are_told(
    tmp_path: Path, make_params: Callable[..., Params]
) -> None:
    write_samples(tmp_path, SHARDS)
    job, other = shard_jobs(make_params(), tmp_path)
    with pytest.raises(InputError, match=r"car-0000\.tar: is damaged.*run sample_images again"):
        job.read(tmp_path)
    (tmp_path / other.source).unlink()
    with pytest.raises(InputError, match=r"dog-0000\.tar: is missing; run sample_images again"):
        other.read(tmp_path)
    with pytest.raises(InputError, match="is damaged"):
        job.with_data(tmp_path)


def test_a_sample_of_another_runs_prompts_is_told(tmp_path: Path) -> None:
    write_samples(tmp_path, SHARDS)
    classes = PromptClasses(tmp_path / "data/prompts.parquet")
    found = [classes.of(f"{number:016x}") for number in (3, 5, 7)]
    assert found == [("dog", "car"), ("dog",), ("car",)]
    for key in ("0" * 16, f"{4:016x}", "f" * 16):
        with pytest.raises(InputError, match=f"no prompt has the id {key}"):
            classes.of(key)


def test_an_id_that_stands_twice_is_told(tmp_path: Path) -> None:
    write_samples(tmp_path, {"car-0000": [(2**60 + 1, ["car"]), (2**60 + 1, ["dog"])]})
    with pytest.raises(InputError, match="prompt_id 1000000000000001 stands there twice"):
        PromptClasses(tmp_path / "data/prompts.parquet")


def test_a_plan_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys, tasks.mask_shards; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
