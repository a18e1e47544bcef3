"""Files of weights that a config names: found early, read before MMEngine reads them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from tasks import preflight
from tasks.digests import combine
from tasks.named_weights import check_named, named_weights
from tasks.params import InputError, Params
from tasks.segmentation import train
from tests.toys.inputs import message, outputs

Make = Callable[..., Params]
CONFIG = "mmseg_configs/storybook/tiny.py"


class Harm:
    """Would run code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (print, ("harm",))


@pytest.fixture
def file(root: Path) -> Path:
    """What the config below ``root`` names as ``pretrained``; it is not there."""
    path = root / "r18.pth"
    text = (root / CONFIG).read_text()
    (root / CONFIG).write_text(text.replace("model = dict(", f'model = dict(pretrained="{path}",'))
    return path


def test_files_are_found_wherever_a_config_names_them(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.pth" for name in "abc"]
    for path in paths:
        path.touch()
    first, second, third = map(str, paths)
    model = {
        "pretrained": first,
        "backbone": {"pretrained": False, "checkpoint_path": second},
        "auxiliary_head": [{"init_cfg": {"type": "Pretrained", "checkpoint": third}}],
        "decode_head": {"pretrained": None},
    }
    assert named_weights(model) == dict(zip((first, second, third), paths, strict=True))


def test_a_missing_file_is_told_before_anything_runs(make: Make, root: Path, file: Path) -> None:
    told = message(make(), root)
    assert told == (
        f"train_segmenter.config: pretrained: {file} does not exist; put the file there, or write "
        "None for random weights"
    )
    assert outputs(root) == {}


def test_an_unsafe_file_is_refused_by_preflight_and_training(
    make: Make,
    root: Path,
    file: Path,
    make_config: Callable[..., Config],
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.save({"state_dict": {"conv1.weight": torch.ones(1)}, "meta": Harm()}, file)
    refusal = f"train_segmenter.config: {file}: cannot be read as weights"
    assert message(make(), root).startswith(refusal)
    cfg = make_config()
    cfg.model.backbone.init_cfg = {"type": "Pretrained", "checkpoint": str(file)}
    with pytest.raises(InputError, match=r"r18\.pth: cannot be read as weights"):
        train(cfg, "data", "training", root)
    assert "harm" not in capsys.readouterr().out


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_weights_of_a_backbone_are_read_as_their_makers_wrap_them(tmp_path: Path, key: str) -> None:
    torch.save({key: {"conv1.weight": torch.ones(1)}}, tmp_path / "a.pth")
    check_named({"pretrained": str(tmp_path / "a.pth")})


def test_the_graph_knows_their_bytes(make: Make, root: Path, file: Path) -> None:
    record = root / "data/inputs/pretrained.json"
    for value in (1.0, 2.0):
        torch.save({"conv1.weight": torch.tensor([value])}, file)
        preflight.run(make(), root)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        expected = {"source": "outside", "digest": combine({str(file): digest})}
        assert json.loads(record.read_text()) == expected


def test_a_config_that_is_no_python_is_told(make: Make, root: Path) -> None:
    (root / CONFIG).write_text("model = dict(")
    told = message(make(), root)
    assert told.startswith(f"train_segmenter.config: {CONFIG} cannot be read: SyntaxError: ")
