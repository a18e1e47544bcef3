"""Stage train_reference at toy size."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks import train_reference
from tasks.params import Params
from tasks.records import read_json


def test_the_reference_learns_from_real_labels_alone(
    toy_params: Callable[..., Params], training_root: Path
) -> None:
    train_reference.run(toy_params(), training_root)
    folder = training_root / "models/reference"
    assert {path.name for path in folder.iterdir()} == {"classes.json", "config.py", "weights.pth"}
    report = read_json(training_root / "metrics/reference_training.json")
    assert (report["trained"], report["iterations"], report["images"]) == (True, 4, 8)
    assert [at for at, _ in report["val"]] == [2, 4]
    assert "reliability" not in report


def test_without_labels_the_stage_says_that_it_is_off(
    toy_params: Callable[..., Params], tmp_path: Path
) -> None:
    (tmp_path / "models/reference").mkdir(parents=True)
    (tmp_path / "models/reference/weights.pth").touch()
    train_reference.run(toy_params({"train_reference.labelled_set": "none"}), tmp_path)
    off = {"trained": False, "why": "train_reference.labelled_set is none"}
    assert read_json(tmp_path / "metrics/reference_training.json") == off
    assert [path.name for path in (tmp_path / "models/reference").iterdir()] == ["off.json"]


def test_a_set_with_none_to_judge_by_is_trained_on_to_the_end_and_the_log_says_so(
    toy_params: Callable[..., Params],
    training_root: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shutil.copytree(training_root / "data/storybook/train", tmp_path / "own")
    shutil.copy(training_root / "tiny.py", tmp_path)
    changes = {"train_reference.labelled_set": "own", "train_segmenter.keep": "best"}
    train_reference.run(toy_params(changes), tmp_path)
    assert "own brings no images to judge by: the reference trains to its end" in caplog.text
    report = read_json(tmp_path / "metrics/reference_training.json")
    assert (report["iterations"], report["kept"], report["val"]) == (4, 4, [])


def test_only_storybooks_sets_bring_one_to_watch_the_training() -> None:
    assert train_reference.watching_set("data/storybook/train") == "data/storybook/val"
    assert train_reference.watching_set("/datasets/voc12/train") is None
    assert train_reference.watching_set("data/storybook/val") is None  # no judge of itself
