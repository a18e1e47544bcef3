"""Training through MMSegmentation at toy size: its config, its result, what a kill leaves of it."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from tasks import segmentation
from tasks.params import InputError, Params
from tasks.records import read_json
from tasks.segmentation import latest_checkpoint, mean_curve, train
from tasks.segmenter import build_network
from tasks.training_config import build_config, load_config

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    path for path in (ROOT / "mmseg_configs").glob("*/*.py") if path.parent.name != "reliability"
)
KEYS = {
    *inspect.signature(Runner).parameters,
    "custom_imports",
    "norm_cfg",
    "train_pipeline",
    "test_pipeline",
}
"""What a config of ours may say at its top level: MMEngine takes any other key in silence."""

MakeParams = Callable[..., Params]


@pytest.fixture
def make_config(make_params: MakeParams, training_root: Path) -> Callable[..., Config]:
    """The config of a training of four iterations on the toy dataset, with some changes."""

    def make(reliability: bool = True, **changes: Any) -> Config:
        changes = {**TOY, **changes}
        section = make_params({f"train_segmenter.{k}": v for k, v in changes.items()})
        train_set, val_set = (
            {
                "type": "ShardDataset",
                "folder": str(training_root / "data/dataset"),
                "split": split,
                "root": str(training_root),
            }
            for split in ("train", "val")
        )
        return build_config(
            section.train_segmenter,
            train_set,
            val_set,
            3,
            reliability=reliability,
            root=training_root,
        )

    return make


def weights(folder: Path) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(folder / "weights.pth", weights_only=True)
    return loaded


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_our_configs_have_no_misspelt_key_and_build(path: Path, make_params: MakeParams) -> None:
    assert set(load_config(path)) <= KEYS
    section = make_params({"train_segmenter.config": str(path)}).train_segmenter
    cfg = build_config(section, {}, None, 9, reliability=True, root=ROOT)
    network = build_network(cfg).eval()
    with torch.no_grad():
        logits = network(torch.zeros(1, 3, 64, 64))
    assert logits.shape[1] == 9


def test_a_config_holds_the_recipe(make_config: Callable[..., Config]) -> None:
    cfg = make_config(learning_rate=0.5, batch_size=3, iterations=9)
    assert cfg.optim_wrapper.optimizer.lr == 0.5
    assert cfg.train_dataloader.batch_size == 3
    assert [scheduler.end for scheduler in cfg.param_scheduler] == [2, 9]
    assert [head.num_classes for head in (cfg.model.decode_head, cfg.model.auxiliary_head)] == [
        3,
        3,
    ]


def test_without_reliability_nothing_reads_or_fades_it(make_config: Callable[..., Config]) -> None:
    used, unused = make_config(), make_config(reliability=False)
    for cfg, count in ((used, 1), (unused, 0)):
        steps = [step["type"] for step in cfg.train_dataloader.dataset.pipeline]
        assert steps.count("LoadReliability") == count
        assert [hook["type"] for hook in cfg.custom_hooks] == ["ReliabilityHook"] * count


def test_a_network_that_cannot_use_reliability_is_refused(
    make_config: Callable[..., Config], training_root: Path
) -> None:
    text = (training_root / "tiny.py").read_text()
    stock = training_root / "stock.py"
    stock.write_text(text.replace("ReliabilityEncoderDecoder", "EncoderDecoder"))
    with pytest.raises(InputError, match=r"the model of stock\.py is a EncoderDecoder"):
        make_config(config="stock.py")
    assert make_config(config="stock.py", reliability=False).model.type == "EncoderDecoder"


def test_a_training_reports_its_curves_and_leaves_no_litter(
    make_config: Callable[..., Config], tmp_path: Path
) -> None:
    finished = train(make_config(), "data", "training", tmp_path)
    assert {path.name for path in finished.iterdir()} == {
        "config.py",
        "training.json",
        "weights.pth",
    }
    assert list(finished.parent.iterdir()) == [finished]
    report = read_json(finished / "training.json")
    assert (report["iterations"], report["images"]) == (4, 12)
    assert [at for at, _ in report["curve"]] == [1, 2, 3, 4]
    assert report["final_loss"] == report["curve"][-1][1]
    assert [at for at, _ in report["val"]] == [2, 4]
    assert all(0 <= miou <= 1 for _, miou in report["val"])
    strengths = [strength for _, strength, _ in report["reliability"]]
    assert strengths == pytest.approx([0, 0.5, 1, 1])
    means = [mean for _, _, mean in report["reliability"]]
    assert means == pytest.approx([1, 0.75, 0.5, 0.5], abs=0.01)


def test_a_finished_training_is_taken_over(
    make_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = train(make_config(), "data", "training", tmp_path)
    monkeypatch.setattr(segmentation, "build_runner", None)
    assert train(make_config(), "data", "training", tmp_path) == finished
    for changed in ((make_config(learning_rate=0.1), "data"), (make_config(), "other data")):
        with pytest.raises(TypeError):
            train(*changed, "training", tmp_path)


def test_a_training_that_was_killed_ends_with_the_same_tensors(
    make_config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = make_config(iterations=6)
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


def test_the_latest_checkpoint_is_the_last_one_that_is_whole(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    for iteration in (20, 100):
        torch.save({"at": iteration}, tmp_path / f"iter_{iteration}.pth")
    assert latest_checkpoint(tmp_path) == tmp_path / "iter_100.pth"
    (tmp_path / "iter_100.pth").write_bytes(b"PK\3\4 cut off")
    assert latest_checkpoint(tmp_path) == tmp_path / "iter_20.pth"


def test_a_curve_is_thinned_to_means() -> None:
    assert mean_curve([1, 2, 3, 4, 5, 6], points=3) == [[2, 1.5], [4, 3.5], [6, 5.5]]
    assert mean_curve(np.array([3.0, 1.0]), points=50) == [[1, 3.0], [2, 1.0]]
