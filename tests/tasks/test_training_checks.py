"""Preflight looks at the training: its network, and whether the initial weights fit it."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tasks.digests import DigestCache
from tasks.params import InputError, Params
from tasks.segmenter import build_network
from tasks.training_checks import check_training, initial_record
from tasks.training_config import build_config

Make = Callable[..., Params]


@pytest.fixture
def start(toy_params: Make, training_root: Path, tmp_path: Path) -> Path:
    """Weights of the toy network for five classes."""
    section = toy_params().train_segmenter
    cfg = build_config(section, {}, None, 5, reliability=True, root=training_root)
    torch.save(build_network(cfg).state_dict(), tmp_path / "start.pth")
    return tmp_path / "start.pth"


def test_the_record_is_of_the_content(start: Path, tmp_path: Path) -> None:
    cache = DigestCache(tmp_path / "cache.json")
    assert initial_record(None, cache) == {"source": "none"}
    digest = hashlib.sha256(start.read_bytes()).hexdigest()
    assert initial_record(start, cache) == {"source": "outside", "digest": digest}


@pytest.mark.parametrize("reliability", ["weighted", "co_training"])
def test_weights_of_the_network_for_other_classes_are_fine(
    toy_params: Make, training_root: Path, start: Path, reliability: str
) -> None:
    check_training(toy_params({"train_segmenter.reliability": reliability}), start, training_root)


def test_weights_of_a_wider_network_are_not(
    toy_params: Make, training_root: Path, start: Path
) -> None:
    wider = (training_root / "tiny.py").read_text().replace("channels=8", "channels=16")
    (training_root / "wider.py").write_text(wider)
    with pytest.raises(InputError, match=r"start\.pth is the checkpoint of another architecture"):
        check_training(toy_params({"train_segmenter.config": "wider.py"}), start, training_root)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('dict(type="LoadReliability"),', "", "needs the reliability maps, which train_pipeline"),
        ("FCNHead", "FNCHead", r"config: own\.py cannot be built: KeyError: .*FNCHead"),
        ("stem_channels", "stem_chanels", r"cannot be built: TypeError: .*stem_chanels"),
        (
            "model = dict(",
            "modle = dict(",
            r"own\.py: model missing; mmseg_configs/README\.md says",
        ),
    ],
)
def test_a_config_that_cannot_be_trained_is_told_before_anything_runs(
    toy_params: Make, training_root: Path, old: str, new: str, said: str
) -> None:
    (training_root / "own.py").write_text((training_root / "tiny.py").read_text().replace(old, new))
    with pytest.raises(InputError, match=said):
        check_training(toy_params({"train_segmenter.config": "own.py"}), None, training_root)


@pytest.mark.parametrize("device", ["cuda:9", "gpu"])
def test_a_device_that_is_not_here_hides_no_fault_of_the_config(
    toy_params: Make, training_root: Path, device: str
) -> None:
    """That the device is missing is said beside it, see `tasks.machine`."""
    asked = {"train_segmenter.device": device, "train_segmenter.dtype": "float16"}
    check_training(toy_params(asked), None, training_root)
    wrong = (training_root / "tiny.py").read_text().replace("FCNHead", "FNCHead")
    (training_root / "own.py").write_text(wrong)
    own = {"train_segmenter.config": "own.py"}
    with pytest.raises(InputError, match=r"config: own\.py cannot be built: KeyError: .*FNCHead"):
        check_training(toy_params(asked | own), None, training_root)


def test_half_precision_of_a_gpu_is_told_on_a_cpu(toy_params: Make, training_root: Path) -> None:
    with pytest.raises(InputError, match=r"dtype: float16 is for GPUs"):
        check_training(toy_params({"train_segmenter.dtype": "float16"}), None, training_root)
