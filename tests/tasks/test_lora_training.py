"""A training on disk: continued after a kill, stopped early, taken over when it is finished."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from tasks import lora_training, sample_sheets
from tasks.adapters import ADAPTER_FILE
from tasks.lora_trainer import Job, Trainer
from tasks.lora_training import CHECKPOINT, STORE, fingerprint, train
from tasks.params import InputError
from tasks.records import read_json
from tests.toys.imports import import_closure, tasks

MakeJob = Callable[..., Job]


@pytest.fixture(autouse=True)
def quick_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of one step."""
    monkeypatch.setattr(sample_sheets, "STEPS", 1)


def weights(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = load_file(folder / ADAPTER_FILE)
    return found


def report(folder: Path) -> dict[str, Any]:
    """All but the time that it took."""
    found: dict[str, Any] = read_json(folder / "training.json")
    del found["seconds"]
    return found


def test_a_training_leaves_weights_curves_and_sheets(make_job: MakeJob, tmp_path: Path) -> None:
    finished = train(make_job(steps=5), "cpu", tmp_path)
    files = {path.relative_to(finished).as_posix() for path in finished.rglob("*.*")}
    sheets = {f"sheets/sheet-{step:05d}.png" for step in (0, 2, 4, 5)}
    assert files == {ADAPTER_FILE, "training.json"} | sheets
    assert list(finished.parent.iterdir()) == [finished]
    told = read_json(finished / "training.json")
    assert (told["steps"], told["stopped_early"]) == (5, False)
    assert (told["images"], told["held_out_images"]) == (4, 1)
    assert [step for step, _ in told["curve"]] == [2, 4, 5]
    assert [step for step, _ in told["held_out"]] == [0, 2, 4, 5]
    losses = dict(told["held_out"])
    assert losses[told["best_step"]] == min(losses.values())
    assert told["parameters"] == sum(value.numel() for value in weights(finished).values())
    assert sorted(told["sheets"]) == ["a dog", "an oak"]
    assert told["seconds"] > 0
    before, after = (
        np.asarray(Image.open(finished / f"sheets/sheet-{step:05d}.png")) for step in (0, 5)
    )
    assert before.shape == (2 * 64, 4 * 64, 3)  # a caption a row, a seed a column
    assert not np.array_equal(before, after)


def test_a_training_that_was_killed_ends_with_the_same_tensors(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(steps=6)
    whole = train(job, "cpu", tmp_path / "whole")

    @contextmanager
    def killed_in_the_sixth(*_: Any) -> Iterator[Callable[..., None]]:
        calls = iter(range(2))
        yield lambda *_: next(calls) and None

    with monkeypatch.context() as patch:
        patch.setattr(lora_training, "progress", killed_in_the_sixth)
        with pytest.raises(StopIteration):
            train(job, "cpu", tmp_path / "killed")
    work = tmp_path / "killed" / STORE / fingerprint(job, "cpu")
    assert torch.load(work / CHECKPOINT, weights_only=True)["state"]["step"] == 4
    (work / f"{CHECKPOINT}.partial").write_bytes(b"cut off")
    begun: list[int] = []
    step = Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self, at: begun.append(at) or step(self, at))
    resumed = train(job, "cpu", tmp_path / "killed")
    assert list(work.iterdir()) == [resumed]
    assert begun == [4, 5]
    assert report(resumed) == report(whole)
    expected, got = weights(whole), weights(resumed)
    assert expected.keys() == got.keys()
    assert all(torch.equal(got[name], value) for name, value in expected.items())
    assert (resumed / ADAPTER_FILE).read_bytes() == (whole / ADAPTER_FILE).read_bytes()
    assert sorted(path.name for path in (resumed / "sheets").iterdir()) == sorted(
        path.name for path in (whole / "sheets").iterdir()
    )


def test_it_stops_early_and_keeps_the_best(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, 0.5, 0.4, 0.6, 0.4, 0.1])
    states: list[dict[str, Tensor]] = []

    def scripted(trainer: Trainer) -> float:
        states.append(trainer.adapter.state())
        return next(losses)

    monkeypatch.setattr(Trainer, "held_out_loss", scripted)
    finished = train(make_job(steps=40, patience=2), "cpu", tmp_path)
    told = read_json(finished / "training.json")
    assert told["held_out"] == [[0, 1.0], [2, 0.5], [4, 0.4], [6, 0.6], [8, 0.4]]
    assert (told["steps"], told["best_step"], told["stopped_early"]) == (8, 4, True)
    kept = {name.removeprefix("unet."): value for name, value in weights(finished).items()}
    best = {name.replace(".default", ""): value for name, value in states[2].items()}
    assert kept.keys() == best.keys()
    assert all(torch.equal(kept[name], value) for name, value in best.items())
    assert any(not torch.equal(value, states[4][name]) for name, value in states[2].items())


def test_an_adapter_that_only_harms_changes_nothing(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([0.5, 0.6, 0.7])
    monkeypatch.setattr(Trainer, "held_out_loss", lambda _: next(losses))
    finished = train(make_job(patience=2), "cpu", tmp_path)
    assert report(finished)["best_step"] == 0
    assert not any(value.any() for name, value in weights(finished).items() if "lora_B" in name)


def test_a_finished_training_is_taken_over(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = train(make_job(steps=1), "cpu", tmp_path)
    monkeypatch.setattr(lora_training, "Trainer", None)
    assert train(make_job(steps=1, scale=0.3), "cpu", tmp_path) == finished
    with pytest.raises(TypeError):
        train(make_job(steps=2), "cpu", tmp_path)


def test_the_fingerprint_is_of_all_that_matters_and_nothing_else(make_job: MakeJob) -> None:
    job = make_job()
    mine = fingerprint(job, "cpu")
    moved = tuple(replace(image, path=Path("/elsewhere")) for image in job.images)
    same = [
        (make_job(scale=0.5, device="cpu", images="o*n", max_images=5), "cpu"),
        (replace(job, images=moved, model="elsewhere"), "cpu"),
        (replace(job, words=("cat",)), "cpu"),  # said in prior prompts alone
    ]
    assert {fingerprint(*each) for each in same} == {mine}
    first, *rest = job.images
    prior = make_job(prior_share=0.5)
    others = [
        (make_job(learning_rate=0.02), "cpu"),
        (make_job(seed=1), "cpu"),
        (replace(job, base="other"), "cpu"),
        (replace(job, size=(64, 96)), "cpu"),
        (replace(job, images=(replace(first, caption="a cat"), *rest)), "cpu"),
        (replace(job, images=(replace(first, digest="other"), *rest)), "cpu"),
        (replace(job, images=tuple(rest)), "cpu"),
        (prior, "cpu"),
        (replace(prior, words=("cat",)), "cpu"),
        (job, "cuda"),
    ]
    assert len({mine, *(fingerprint(*each) for each in others)}) == len(others) + 1
    assert fingerprint(job, "cuda:1") == fingerprint(job, "cuda")


def test_a_training_that_diverges_says_so(make_job: MakeJob, tmp_path: Path) -> None:
    expected = r"adapt_lora: the loss is (nan|inf) at step \d: the training diverged; lower adapt_l"
    with pytest.raises(InputError, match=expected):
        train(make_job(learning_rate=1e30), "cpu", tmp_path)


def test_the_code_that_an_adapter_depends_on_is_declared() -> None:
    """Whatever the training imports, but for what reads the base model and moves bytes about."""
    around = ("adapters", "base_models", "digests", "durable", "in_use", "label_maps", "params")
    around += ("labelled_sets", "pipelines", "progress", "records")
    code = import_closure(tasks("lora_training"), without=tasks(*around)) - tasks()
    assert {Path(path).name for path in code} == set(lora_training.CODE)
