"""Weights as files: ours, MMSegmentation's of both versions, and what is none."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from tasks.checkpoints import find_initial, read_checkpoint
from tasks.params import InputError
from tasks.segmentation import build_runner

WEIGHTS = {"backbone.conv1.weight": torch.arange(4.0)}


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (WEIGHTS, None),
        (
            {"state_dict": WEIGHTS, "meta": {"CLASSES": ("road", "sky"), "PALETTE": None}},
            ("road", "sky"),
        ),
        ({"state_dict": WEIGHTS, "meta": {"dataset_meta": {"classes": ["car"]}}}, ("car",)),
        ({"state_dict": {f"module.{name}": value for name, value in WEIGHTS.items()}}, None),
    ],
    ids=["ours", "0.x", "1.x", "of several processes"],
)
def test_reads_weights_and_class_names(tmp_path: Path, content: Any, names: Any) -> None:
    torch.save(content, tmp_path / "a.pth")
    read = read_checkpoint(tmp_path / "a.pth")
    assert read.class_names == names
    assert list(read.weights) == list(WEIGHTS)
    assert torch.equal(read.weights["backbone.conv1.weight"], torch.arange(4.0))


def test_reads_what_mmengine_writes_in_a_training(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    """Beside the weights, it holds the optimizer and the history of the losses."""
    runner = build_runner(make_config(iterations=2), tmp_path, "checkpoints", None)
    runner.train()
    read = read_checkpoint(tmp_path / "iter_2.pth")
    assert read.class_names == ("background", "red", "blue")
    expected = runner.model.state_dict()
    assert read.weights.keys() == expected.keys()
    assert all(torch.equal(read.weights[name], value) for name, value in expected.items())


class Harm:
    """Would run code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (print, ("harm",))


def test_runs_no_code_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": WEIGHTS, "meta": Harm()}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth: cannot be read as weights"):
        read_checkpoint(tmp_path / "a.pth")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "data", [b"", b"PK\3\4 cut off", pickle.dumps({"a": 1})], ids=["empty", "cut off", "a pickle"]
)
def test_damaged_files_are_the_users_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.pth").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.pth: (cannot be read as|holds no) weights"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {"a": 1}}, {"epoch": 3}])
def test_what_holds_no_weights_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth: holds no weights; give a state dict"):
        read_checkpoint(tmp_path / "a.pth")


def test_initial_weights_are_a_file_or_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "models/pretrained"
    folder.mkdir(parents=True)
    (folder / "weights.pth").touch()
    assert find_initial("none", tmp_path) is None
    for value in ("models/pretrained", "models/pretrained/weights.pth"):
        assert find_initial(value, tmp_path) == folder / "weights.pth"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("nowhere", "train_segmenter.init_from: nowhere does not exist; give a folder"),
        ("models", "train_segmenter.init_from: models holds no weights.pth; give a folder"),
        (
            "models/segmenter",
            "models/segmenter is replaced by this very run; copy it first, such as "
            "`cp -r models/segmenter models/pretrained`, and name the copy",
        ),
        ("./models/reference/weights.pth", "is replaced by this very run"),
    ],
)
def test_initial_weights_must_be_there_and_stay(tmp_path: Path, value: str, expected: str) -> None:
    for name in ("segmenter", "reference"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "weights.pth").touch()
    with pytest.raises(InputError, match=re.escape(expected)):
        find_initial(value, tmp_path)
