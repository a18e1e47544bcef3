"""Stage train_segmenter at toy size."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks import train_segmenter
from tasks.label_maps import encode_grey
from tasks.params import InputError, Params
from tasks.records import DATASET, MASKS, read_json, read_rows, write_table
from tasks.shards import parse_uri, write_shard


def test_the_stage_leaves_a_network_and_its_report(
    toy_params: Callable[..., Params], training_root: Path
) -> None:
    train_segmenter.run(toy_params(), training_root)
    folder = training_root / "models/segmenter"
    assert {path.name for path in folder.iterdir()} == {"classes.json", "config.py", "weights.pth"}
    assert read_json(folder / "classes.json") == ["background", "red", "blue"]
    weights = torch.load(folder / "weights.pth", weights_only=True)
    assert weights["decode_head.conv_seg.weight"].shape == (3, 8, 1, 1)
    report = read_json(training_root / "metrics/training.json")
    assert (report["iterations"], report["images"]) == (4, 12)
    curves = (training_root / "plots/training.csv").read_text().splitlines()
    losses = [loss for _, loss in report["curve"]]
    (_, first), (_, last) = report["val"]
    names = ["background", "red", "blue"]
    shares = [
        ",".join(
            str(share) for share in (row["reliable"], "", *map(row["reliable_by_class"].get, names))
        )
        for row in report["reliability"]
    ]
    by_class = ",".join(f"reliable: {name}" for name in names)
    assert curves[0] == f"iteration,loss,miou,reliable,agreement,{by_class}"
    assert curves[1:] == [
        f"1,{losses[0]},,{shares[0]}",
        f"2,{losses[1]},{first},{shares[1]}",
        f"3,{losses[2]},,{shares[2]}",
        f"4,{losses[3]},{last},{shares[3]}",
    ]
    assert set(report) == {
        "iterations",
        "images",
        "final_loss",
        "curve",
        "val",
        "kept",
        "reliability",
    }


def test_a_run_goes_on_from_what_another_run_has_learnt(
    toy_params: Callable[..., Params], training_root: Path
) -> None:
    """The result of the run before, copied, as the presets of storybook chain them."""
    train_segmenter.run(toy_params(), training_root)
    shutil.copytree(training_root / "models/segmenter", training_root / "models/pretrained")
    more = {
        "init_from": "models/pretrained",
        "reliability": "co_training",
        "co_training.classmix": 0.0,
    }
    train_segmenter.run(
        toy_params({f"train_segmenter.{key}": value for key, value in more.items()}), training_root
    )
    report = read_json(training_root / "metrics/training.json")["init_from"]
    weights = training_root / "models/pretrained/weights.pth"
    assert report["digest"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert report["fresh_head_layers"] == [
        "networks.1.auxiliary_head.conv_seg",
        "networks.1.decode_head.conv_seg",
    ]


def test_splits_count_kept_samples_and_an_empty_one_is_the_users_error() -> None:
    rows = [
        {"kept": True, "split": "train"},
        {"kept": True, "split": "train"},
        {"kept": True, "split": "val"},
        {"kept": False, "split": ""},
    ]
    assert train_segmenter.count_splits(rows) == {"train": 2, "val": 1}
    with pytest.raises(InputError, match="none of 1 samples was kept for training"):
        train_segmenter.count_splits(rows[3:])


@pytest.mark.parametrize("changes", [{"keep": "best"}, {"patience": 2}])
def test_there_must_be_something_to_judge_by(
    toy_params: Callable[..., Params],
    training_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
) -> None:
    monkeypatch.setattr(train_segmenter, "count_splits", lambda _: {"train": 12, "val": 0})
    params = toy_params({f"train_segmenter.{key}": value for key, value in changes.items()})
    with pytest.raises(InputError, match="nothing is held out to judge by"):
        train_segmenter.run(params, training_root)


def test_a_class_without_a_kept_sample_is_named() -> None:
    def row(kept: bool, split: str, *names: str) -> dict[str, object]:
        shown = [{"name": name, "area": 0.0 if name == "fish" else 0.1} for name in names]
        return {"kept": kept, "split": split, "classes": shown}

    rows = [
        row(True, "train", "car", "tree", "fish"),
        row(False, "", "boat"),
        row(True, "val", "dog"),
    ]
    train_segmenter.check_classes(rows, ["car", "tree"])
    with pytest.raises(InputError, match=r"was kept for training of 2 classes: boat, dog; metrics"):
        train_segmenter.check_classes(rows, ["car", "boat", "tree", "dog"])
    with pytest.raises(InputError, match="of 1 classes: fish"):  # prompted, and nowhere to be seen
        train_segmenter.check_classes(rows, ["car", "fish"])


def test_each_interval_is_a_line_of_the_log(
    toy_params: Callable[..., Params], training_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes = {"train_segmenter.reliability": "co_training", "train_segmenter.seed": 7}
    with caplog.at_level("INFO"):
        train_segmenter.run(toy_params(changes), training_root)
    lines = [text for text in caplog.messages if text.startswith("iteration ")]
    rows = read_json(training_root / "metrics/training.json")["reliability"]
    assert len(lines) == len(rows) == 4
    for line, row in zip(lines, rows, strict=True):
        shares = row["reliable_by_class"]
        told = ", ".join(f"{name} {shares[name]:.2f}" for name in ("background", "red", "blue"))
        assert line == (
            f"iteration {row['iteration']}: reliable {row['reliable']:.2f}; by class {told}; "
            f"agreement {row['agreement']:.2f}"
        )


def test_tensorboard_shows_every_curve(
    toy_params: Callable[..., Params], training_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is an extra: make tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    changes = {"tensorboard": True, "iterations": 20, "checkpoint_interval": 10, "seed": 5}
    params = toy_params({f"train_segmenter.{key}": value for key, value in changes.items()})
    with caplog.at_level("INFO"):
        train_segmenter.run(params, training_root)
    (folder,) = (training_root / ".maskloom/tensorboard").iterdir()
    assert f"tensorboard --logdir {folder.parent}" in caplog.text
    events = EventAccumulator(str(folder))
    events.Reload()
    report = read_json(training_root / "metrics/training.json")
    shown = {
        tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }
    assert [step for step, _ in shown["loss"]] == [10, 20]
    losses = [loss for _, loss in report["curve"]]
    assert shown["loss"][1][1] == pytest.approx(sum(losses[10:]) / 10, abs=1e-4)
    assert shown["held-out mIoU"] == [(step, pytest.approx(miou)) for step, miou in report["val"]]
    reliable = [(row["iteration"], pytest.approx(row["reliable"])) for row in report["reliability"]]
    assert shown["reliability/reliable"] == reliable
    assert set(shown) >= {"learning rate", "reliability/strength"}
    red = [(row["iteration"], row["reliable_by_class"]["red"]) for row in report["reliability"]]
    assert shown["reliability/by class/red"] == [
        (step, pytest.approx(share)) for step, share in red if share is not None
    ]
    last = report["reliability"][-1]["reliable_by_class"]["red"]
    assert "iteration 20: reliable" in caplog.text and f", red {last:.2f}" in caplog.text


def test_other_bytes_in_the_same_places_are_another_training(
    toy_params: Callable[..., Params], training_root: Path
) -> None:
    params = toy_params({"train_segmenter.seed": 6})
    store = training_root / ".maskloom/training"

    def trained() -> set[str]:
        before = {path.name for path in store.iterdir()} if store.is_dir() else set()
        train_segmenter.run(params, training_root)
        return {path.name for path in store.iterdir()} - before

    assert len(trained()) == 1
    assert trained() == set()
    masks = training_root / "data/masks/index.parquet"
    write_table(masks, [{"sample_id": "0", "label_crc32": 1}], MASKS)
    try:
        assert len(trained()) == 1
    finally:
        masks.unlink()


@pytest.fixture
def break_sample(training_root: Path, tmp_path: Path) -> Callable[[str, dict[str, object]], Path]:
    """A copy of the toy root, of whose last training sample a map is another address."""

    def change(kind: str, member: dict[str, object]) -> Path:
        root = tmp_path / "broken"
        shutil.copytree(training_root / "data", root / "data")
        shutil.copy(training_root / "tiny.py", root)
        index = root / "data/dataset/index.parquet"
        rows = read_rows(index)
        rows[11][kind] = replace(parse_uri(rows[11][kind]), **member).uri
        write_table(index, rows, DATASET)
        return root

    return change


@pytest.mark.parametrize(
    ("kind", "member", "rule"),
    [
        ("reliability", {"offset": 10**7}, r"sample 11 cannot .*: .*reliability\.tar: ends before"),
        ("label", {"path": "data/none.tar"}, r"sample 11 cannot be read: .*data/none\.tar"),
        ("image", {"offset": 0}, r"sample 11 cannot be read: failed to load image: .*image\.tar"),
        ("label", {"offset": 0}, r"sample 11 cannot be read: cannot identify .*label\.tar"),
    ],
    ids=["cut short", "missing", "no image", "no label map"],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_one_broken_sample_is_one_message(
    toy_params: Callable[..., Params],
    break_sample: Callable[..., Path],
    kind: str,
    member: dict[str, object],
    rule: str,
    workers: int,
) -> None:
    changes = {"num_workers": workers, "batch_size": 12}
    params = toy_params({f"train_segmenter.{key}": value for key, value in changes.items()})
    with pytest.raises(InputError, match=f"^{rule}") as caught:
        train_segmenter.run(params, break_sample(kind, member))
    assert "\n" not in str(caught.value)


def test_a_reliability_map_of_another_size_is_one_message(
    toy_params: Callable[..., Params], break_sample: Callable[..., Path]
) -> None:
    root = break_sample("reliability", {})
    data = encode_grey(np.zeros((8, 16), np.uint8))
    (member,) = write_shard(root / "data/other.tar", [("11.reliability.png", data)])
    index = root / "data/dataset/index.parquet"
    rows = read_rows(index)
    rows[11]["reliability"] = replace(member, path="data/other.tar").uri
    write_table(index, rows, DATASET)
    params = toy_params({"train_segmenter.batch_size": 12})
    with pytest.raises(InputError, match=r"other\.tar.*: the reliability map of sample 11 must be"):
        train_segmenter.run(params, root)
