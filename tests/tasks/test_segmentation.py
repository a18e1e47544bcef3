"""Training through MMSegmentation at toy size: its config, its result, what a kill leaves of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import ValLoop

from tasks.label_maps import encode_image, encode_label
from tasks.params import Params
from tasks.records import read_json
from tasks.segmentation import train
from tasks.training_config import build_config, drop_type
from tests.toys.training import weights

MakeConfig = Callable[..., Config]


def test_a_training_reports_its_curves_and_leaves_no_litter(
    make_config: MakeConfig, tmp_path: Path
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
    rows = report["reliability"]
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4]
    assert [row["strength"] for row in rows] == pytest.approx([0, 0.5, 1, 1])
    assert [row["reliable"] for row in rows] == pytest.approx([1, 0.75, 0.5, 0.5], abs=0.01)
    assert set(rows[0]["reliable_by_class"]) == {"background", "red", "blue"}


def test_two_networks_stay_two(make_config: MakeConfig, tmp_path: Path) -> None:
    finished = train(make_config(reliability="co_training"), "data", "training", tmp_path)
    first, second = (
        weights(finished)[f"networks.{number}.decode_head.conv_seg.weight"] for number in (0, 1)
    )
    assert not torch.equal(first, second)
    rows = read_json(finished / "training.json")["reliability"]
    assert all(0 <= row["agreement"] <= 1 for row in rows)


def test_the_best_weights_are_kept_and_their_average_where_one_is_asked_for(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the mIoU made up: 0.5, 0.7, 0.6, and so on."""
    seen: list[dict[str, torch.Tensor]] = []

    def judge(loop: ValLoop) -> dict[str, float]:
        seen.append({key: value.clone() for key, value in loop.runner.model.state_dict().items()})
        return {"mIoU": [50.0, 70.0, 60.0, 70.0][len(seen) - 1]}

    monkeypatch.setattr(ValLoop, "run", judge)
    cfg = make_config(iterations=8, checkpoint_interval=2, keep="best")
    finished = train(cfg, "data", "training", tmp_path)
    report = read_json(finished / "training.json")
    assert (report["kept"], report["iterations"]) == (4, 8)
    assert report["val"] == [[2, 0.5], [4, 0.7], [6, 0.6], [8, 0.7]]
    for name, tensor in weights(finished).items():
        assert torch.equal(tensor, seen[1][name])


def test_it_stops_when_patience_is_at_an_end(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([50.0, 60.0, 40.0, 55.0])
    monkeypatch.setattr(ValLoop, "run", lambda _: {"mIoU": next(values)})
    cfg = make_config(iterations=20, checkpoint_interval=2, patience=2)
    report = read_json(train(cfg, "data", "training", tmp_path) / "training.json")
    assert (report["iterations"], report["kept"]) == (8, 8)
    assert [at for at, _ in report["curve"]] == list(range(1, 9))


def test_the_average_is_of_every_step(make_config: MakeConfig, tmp_path: Path) -> None:
    """Two steps with a momentum of 0.75: the average is 1/4 w2 + 3/4 w1, it begins as w1."""
    steps = []
    for iterations in (1, 2):
        cfg = make_config(iterations=iterations)
        cfg.param_scheduler = []
        steps.append(weights(train(cfg, "data", "training", tmp_path)))
    cfg = make_config(iterations=2, ema=0.75)
    cfg.param_scheduler = []
    averaged = weights(train(cfg, "data", "training", tmp_path))
    name = "decode_head.conv_seg.weight"
    torch.testing.assert_close(averaged[name], 0.75 * steps[0][name] + 0.25 * steps[1][name])


def test_two_half_batches_make_the_step_of_the_whole(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    """Without what draws, or looks at the batch; SGD, as Adam's first step has one length."""

    def step(iterations: int, batch_size: int, accumulation: int) -> dict[str, torch.Tensor]:
        cfg = make_config(
            iterations=iterations,
            batch_size=batch_size,
            accumulation=accumulation,
            dtype="float32",
            reliability="none",
        )
        cfg.optim_wrapper.optimizer = {"type": "SGD", "lr": 0.1}
        cfg.param_scheduler = []
        cfg.model.backbone.norm_eval = True
        cfg.model.decode_head.dropout_ratio = cfg.model.auxiliary_head.dropout_ratio = 0
        pipeline = cfg.train_dataloader.dataset.pipeline
        for name in ("RandomFlip", "PhotoMetricDistortion"):
            drop_type(pipeline, name)
        return weights(train(cfg, "data", "training", tmp_path))

    whole, halves, one_half = step(1, 8, 1), step(2, 4, 2), step(1, 4, 1)
    assert whole.keys() == halves.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(halves[name], tensor, rtol=1e-5, atol=1e-6, msg=name)
    name = "decode_head.conv_seg.weight"
    assert (whole[name] - one_half[name]).abs().max() > 1e-3


def test_a_step_by_generalised_cross_entropy_with_weights(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    """Its loss is at most 1 / q a head, and its step another than that of cross-entropy."""
    made = []
    for loss in (
        {"type": "GeneralisedCrossEntropy", "q": 0.7},
        {"type": "ReliabilityCrossEntropy"},
    ):
        cfg = make_config(reliability="weighted", fade=0.0, iterations=1, dtype="float32")
        cfg.model.decode_head.loss_decode = cfg.model.auxiliary_head.loss_decode = loss
        cfg.optim_wrapper.optimizer = {"type": "SGD", "lr": 0.1}
        finished = train(cfg, "data", "training", tmp_path)
        made.append((read_json(finished / "training.json"), weights(finished)))
    (report, moved), (_, other) = made
    assert 0 < report["final_loss"] < 2 / 0.7
    (row,) = report["reliability"]
    assert (row["strength"], row["reliable"]) == (1, pytest.approx(0.5, abs=0.01))
    assert all(tensor.isfinite().all() for tensor in moved.values())
    name = "decode_head.conv_seg.weight"
    assert not torch.equal(moved[name], other[name])


def test_more_than_255_classes_train_and_255_is_one_of_them(
    toy_params: Callable[..., Params], training_root: Path, tmp_path: Path
) -> None:
    """Images that show class 255 alone are learnt and measured as such."""
    rng = np.random.default_rng(0)
    names = [f"c{number}" for number in range(300)]
    label = np.full((16, 16), 255, np.uint16)
    label[:2] = 65535
    for number in range(4):
        image = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
        for folder, data in (("images", encode_image(image)), ("labels", encode_label(label))):
            path = tmp_path / f"set/{folder}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    labelled = {"type": "FolderDataset", "folder": str(tmp_path / "set"), "classes": names}
    changes = {"iterations": 12, "learning_rate": 0.1, "checkpoint_interval": 12}
    section = toy_params({f"train_segmenter.{key}": value for key, value in changes.items()})
    cfg = build_config(
        section.train_segmenter, labelled, labelled, 300, reliability=False, root=training_root
    )
    report = read_json(train(cfg, "data", "training", tmp_path) / "training.json")
    assert report["curve"][0][1] > 5 > 0.5 > report["final_loss"]
    assert report["val"] == [[12, 1.0]]


def test_deterministic_mode_is_of_the_training_alone(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cudnn, inside = torch.backends.cudnn, []
    before = cudnn.deterministic, cudnn.benchmark
    validate = ValLoop.run

    def watched(loop: ValLoop) -> Any:
        inside.append(torch.are_deterministic_algorithms_enabled())
        return validate(loop)

    monkeypatch.setattr(ValLoop, "run", watched)
    one, two = (
        weights(train(make_config(deterministic=True), "data", "training", tmp_path / name))
        for name in ("one", "two")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert inside and all(inside)
    assert not torch.are_deterministic_algorithms_enabled()
    assert (cudnn.deterministic, cudnn.benchmark) == before
