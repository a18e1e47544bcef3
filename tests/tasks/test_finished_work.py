"""Room on the disk: what is finished needs none, what other parameters made does not help."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tasks.finished_work import disk_problems, finished_bytes, remember_plan
from tasks.in_use import write_in_use
from tasks.machine import run_bytes
from tasks.params import Params
from tasks.work_store import STORE


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_disk_too_small_is_told_with_both_numbers(
    make_params: Callable[..., Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**9, 0, 10**8))
    (problem,) = disk_problems(make_params(), tmp_path)
    assert problem.startswith("disk: the run needs about 0.6 GB and 0.1 GB are free in ")
    assert "python -m tasks.shards prune" in problem
    assert "lower expand_prompts.images_per_class" in problem


@pytest.mark.parametrize(
    ("there", "finished"),
    [
        ({"data/samples/car-0000.tar": 10_000_000}, 20_000_000),
        (
            {STORE / "sample_images/car.tar": 10_000_000, "data/samples/car.tar": 4_000_000},
            14_000_000,
        ),
    ],
    ids=["outputs", "finished shards, which no output holds yet"],
)
def test_what_is_there_already_needs_no_room(
    make_params: Callable[..., Params],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: dict[str | Path, int],
    finished: int,
) -> None:
    """The outputs of DVC take as much again as the store; those that are there are counted too."""
    for name, size in there.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(bytes(size))
    needed = run_bytes(make_params()) - finished
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**12, 0, needed))
    assert disk_problems(make_params(), tmp_path) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**12, 0, needed - 1))
    assert len(disk_problems(make_params(), tmp_path)) == 1


def test_what_other_parameters_made_leaves_no_room(
    make_params: Callable[..., Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor what no run uses; more images of the same kind keep what is there."""
    for name, size in (("samples", 4_000_000), ("masks", 1_000_000)):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "car.tar").write_bytes(bytes(size))
    for fingerprint, size in (("aa", 6_000_000), ("bb", 50_000_000)):
        (tmp_path / STORE / "sample_images").mkdir(parents=True, exist_ok=True)
        path = tmp_path / STORE / f"sample_images/{fingerprint}-0123.tar"
        path.write_bytes(bytes(size))
    write_in_use("sample_images", "sample_images", ["aa"], tmp_path)
    params = make_params()
    remember_plan(params, tmp_path)
    assert finished_bytes(params, tmp_path) == 4_000_000 + 6_000_000 + 2 * 1_000_000
    more = make_params({"expand_prompts.images_per_class": 300})
    assert finished_bytes(more, tmp_path) == finished_bytes(params, tmp_path)
    others = make_params({"extract_masks.refine": "none"})
    assert finished_bytes(others, tmp_path) == 10_000_000
    changed = make_params({"sample_images.num_inference_steps": 20})
    assert finished_bytes(changed, tmp_path) == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**12, 0, run_bytes(changed)))
    assert disk_problems(changed, tmp_path) == []
    few = run_bytes(changed) - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**12, 0, few))
    assert len(disk_problems(changed, tmp_path)) == 1
