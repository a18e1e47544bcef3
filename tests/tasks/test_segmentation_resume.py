"""What a kill leaves of a training, and which finished one is taken over."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from tasks import segmentation
from tasks.in_use import read_in_use
from tasks.params import InputError
from tasks.records import read_json
from tasks.segmentation import fingerprint, latest_checkpoint, train
from tests.toys.imports import import_closure, tasks
from tests.toys.training import weights

MakeConfig = Callable[..., Config]


def test_a_finished_training_is_taken_over(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = train(make_config(), "data", "training", tmp_path)
    monkeypatch.setattr(segmentation, "build_runner", None)
    assert train(make_config(), "data", "training", tmp_path) == finished
    for changed in ((make_config(learning_rate=0.1), "data"), (make_config(), "other data")):
        with pytest.raises(TypeError):
            train(*changed, "training", tmp_path)


EVERYTHING: dict[str, Any] = {
    "reliability": "co_training",
    "fade": 0.0,
    "co_training.classmix": 0.7,
    "co_training.classmix_from": 0.0,
    "co_training.confidence": 0.3,
    "co_training.quantile": 0.6,
    "learning_rate": 0.05,
    "seed": 5,
    "ema": 0.5,
    "keep": "best",
    "accumulation": 2,
}
"""With this seed the fourth batch is pasted into the two that follow the checkpoint."""


@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["plain", "everything"])
def test_a_training_that_was_killed_ends_with_the_same_tensors(
    make_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
) -> None:
    cfg = make_config(iterations=6, **changes)
    whole = train(cfg, "data", "training", tmp_path / "whole")

    @contextmanager
    def killed_in_the_fifth(*_: Any) -> Iterator[Callable[..., None]]:
        calls = iter(range(4))
        yield lambda *_: next(calls) and None

    with monkeypatch.context() as patch:
        patch.setattr(segmentation, "progress", killed_in_the_fifth)
        with pytest.raises(StopIteration):
            train(cfg, "data", "training", tmp_path / "killed")
    work = next((tmp_path / "killed" / segmentation.STORE).iterdir())
    assert latest_checkpoint(work) == work / "iter_4.pth"
    (work / "iter_6.pth").write_bytes((work / "iter_4.pth").read_bytes()[:5000])
    resumed = train(cfg, "data", "training", tmp_path / "killed")

    assert read_json(resumed / "training.json") == read_json(whole / "training.json")
    expected, got = weights(whole), weights(resumed)
    assert expected.keys() == got.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name], tensor, rtol=0, atol=0, msg=name)


def test_weights_that_the_config_names_count_by_their_bytes(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    cfg, file = make_config(), tmp_path / "r18.pth"
    cfg.model.backbone.init_cfg = {"type": "Pretrained", "checkpoint": str(file)}
    names = set()
    for content in ("one", "other"):
        file.write_text(content)
        names.add(fingerprint(cfg, "data", tmp_path, None))
        assert fingerprint(cfg, "data", tmp_path, None) in names
    assert len(names) == 2
    file.unlink()
    with pytest.raises(InputError, match=r"checkpoint: .*r18\.pth does not exist"):
        fingerprint(cfg, "data", tmp_path, None)


def test_a_training_goes_on_on_any_gpu_of_a_kind(make_config: MakeConfig, tmp_path: Path) -> None:
    cfg = make_config()
    names = []
    for cfg.device in ("cuda:0", "cuda:1", "cpu"):
        names.append(fingerprint(cfg, "data", tmp_path, None))
    assert names[0] == names[1] != names[2]


def test_the_code_that_a_training_depends_on_is_there() -> None:
    """Whatever the trainer, its config and the datasets import, but for what moves bytes about."""
    root = Path(segmentation.__file__).parents[1]
    assert all(list(root.glob(pattern)) for pattern in segmentation.CODE)
    around = ("digests", "durable", "in_use", "machine", "params", "progress", "records")
    trainer = tasks("segmentation", "training_config")
    datasets = {path.relative_to(root).as_posix() for path in root.glob(segmentation.CODE[0])}
    code = import_closure(trainer | datasets, without=tasks(*around)) - tasks()
    declared = {
        path.relative_to(root).as_posix() for each in segmentation.CODE for path in root.glob(each)
    }
    assert code == declared | {"mmseg_configs/__init__.py"}


def test_the_latest_checkpoint_is_the_last_one_that_is_whole(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    for iteration in (20, 100):
        torch.save({"at": iteration}, tmp_path / f"iter_{iteration}.pth")
    assert latest_checkpoint(tmp_path) == tmp_path / "iter_100.pth"
    (tmp_path / "iter_100.pth").write_bytes(b"PK\3\4 cut off")
    assert latest_checkpoint(tmp_path) == tmp_path / "iter_20.pth"


def test_a_checkpoint_is_written_as_a_whole(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And flushed before it gets its name, so that a power cut leaves the one before."""
    done: list[tuple[str, str]] = []
    sync, replace = segmentation.sync, Path.replace

    def watched_sync(path: Path) -> None:
        done.append(("flush", path.name))
        sync(path)

    def watched_replace(path: Path, target: Path) -> Path:
        done.append(("rename", path.name))
        return replace(path, target)

    monkeypatch.setattr(segmentation, "sync", watched_sync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    finished = train(make_config(iterations=2), "data", "training", tmp_path, user="somebody")
    work = finished.parent.name
    expected = [
        ("flush", "iter_2.pth.partial"),
        ("rename", "iter_2.pth.partial"),
        ("flush", work),
        ("flush", work),
    ]
    others = ("in_use", ".json.")  # what else is written, by `tasks.durable`
    assert [each for each in done if not any(name in each[1] for name in others)] == expected
    assert read_in_use("training", tmp_path) == {work}
