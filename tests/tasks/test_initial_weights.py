"""Trainings that start from another network: what is loaded where, and what is said of it."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from torch import Tensor, nn

from tasks import segmentation
from tasks.initial_weights import InitialWeights, check_fit, head_layers, load_initial, sources
from tasks.params import InputError
from tasks.records import read_json
from tasks.segmentation import train
from tasks.segmenter import build_network
from tasks.training_config import set_class_count

MakeConfig = Callable[..., Config]
NAMES = ["background", "red", "blue"]


def network(make_config: MakeConfig, classes: int = 3, seed: int = 0, **changes: Any) -> nn.Module:
    cfg = make_config(**changes)
    set_class_count(cfg.model, classes)
    torch.manual_seed(seed)
    return build_network(cfg)


def saved(model: nn.Module, path: Path) -> InitialWeights:
    torch.save(model.state_dict(), path)
    return InitialWeights(path, "a digest")


def backbone(state: dict[str, Tensor], prefix: str = "") -> Tensor:
    return state[f"{prefix}backbone.layer1.0.conv1.weight"]


def test_other_classes_take_all_but_the_classifiers(
    make_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    old, new = network(make_config, 7), network(make_config, 3, seed=1)
    before = {name: value.clone() for name, value in new.state_dict().items()}
    report = load_initial(new, saved(old, tmp_path / "a.pth"), NAMES)
    layers = ["auxiliary_head.conv_seg", "decode_head.conv_seg"]
    count = len(before)
    assert report == {
        "digest": "a digest",
        "loaded": count - 4,
        "fresh": 4,
        "fresh_head_layers": layers,
        "unused": 4,
        "unused_head_layers": layers,
        "other_classes": False,
    }
    for name, value in new.state_dict().items():
        expected = before if ".conv_seg." in name else old.state_dict()
        assert torch.equal(value, expected[name]), name
    assert (
        f"a.pth: {count - 4} tensors loaded; 4 not, layers of heads among them: "
        "auxiliary_head.conv_seg, decode_head.conv_seg; 4 of the file not used"
    ) in caplog.text


def test_classifiers_of_as_many_other_classes_are_not_taken(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    old = network(make_config)
    start = saved(old, tmp_path / "weights.pth")
    for names, fresh in ((NAMES, 0), (["background", "blue", "red"], 4)):
        (tmp_path / "classes.json").write_text(json.dumps(names))
        new = network(make_config, seed=1)
        report = load_initial(new, start, NAMES)
        assert (report["fresh"], report["other_classes"]) == (fresh, fresh > 0)
        name = "decode_head.conv_seg.weight"
        assert torch.equal(new.state_dict()[name], old.state_dict()[name]) == (fresh == 0)
        assert torch.equal(backbone(new.state_dict()), backbone(old.state_dict()))


def test_two_networks_take_one_and_stay_two(make_config: MakeConfig, tmp_path: Path) -> None:
    """Of as many classes, so the classifiers fit too; the second one's stay random."""
    old = network(make_config)
    new = network(make_config, seed=1, reliability="co_training")
    second = new.state_dict()["networks.1.decode_head.conv_seg.weight"].clone()
    report = load_initial(new, saved(old, tmp_path / "a.pth"), NAMES)
    state = new.state_dict()
    for number in (0, 1):
        assert torch.equal(backbone(state, f"networks.{number}."), backbone(old.state_dict()))
    name = "decode_head.conv_seg.weight"
    assert torch.equal(state[f"networks.0.{name}"], old.state_dict()[name])
    assert torch.equal(state[f"networks.1.{name}"], second)
    assert report["fresh_head_layers"] == [
        "networks.1.auxiliary_head.conv_seg",
        "networks.1.decode_head.conv_seg",
    ]
    assert (report["fresh"], report["unused"]) == (4, 0)


def test_two_networks_take_two_and_one_takes_the_first(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    old = network(make_config, reliability="co_training")
    start = saved(old, tmp_path / "a.pth")
    both = network(make_config, seed=1, reliability="co_training")
    assert load_initial(both, start, NAMES)["fresh"] == 0
    assert all(torch.equal(both.state_dict()[n], value) for n, value in old.state_dict().items())
    one = network(make_config, seed=1)
    report = load_initial(one, start, NAMES)
    assert report["loaded"] == report["unused"] == len(one.state_dict())
    assert "networks.1.decode_head.conv_seg" in report["unused_head_layers"]
    assert torch.equal(backbone(one.state_dict()), backbone(old.state_dict(), "networks.0."))


def test_only_what_has_the_shape_fits() -> None:
    model = nn.ModuleDict({"backbone": nn.Linear(2, 3), "decode_head": nn.Linear(3, 4)})
    weights = {
        "backbone.weight": torch.zeros(3, 2),
        "backbone.bias": torch.zeros(4),
        "decode_head.weight": torch.zeros(4, 3, 1, 1),
        "neck.weight": torch.zeros(1),
    }
    assert sources(model, weights) == {"backbone.weight": "backbone.weight"}


def test_less_than_half_of_the_backbone_is_another_architecture() -> None:
    """Of 10 + 10 + 5 numbers, the first ten fit, or the first twenty."""
    model = nn.ModuleDict({"backbone": nn.Sequential(nn.Linear(1, 10), nn.Linear(5, 1, False))})
    weights = {"backbone.0.weight": torch.zeros(10, 1), "decode_head.weight": torch.zeros(3)}
    with pytest.raises(
        InputError,
        match=r"init_from: a\.pth is the checkpoint of another architecture: of the backbone's 3 "
        r"tensors 1 fit by name and shape, 40% of its numbers; give one of the network that",
    ):
        check_fit(model, weights, Path("a.pth"))
    weights["backbone.0.bias"] = torch.zeros(10)
    assert set(check_fit(model, weights, Path("a.pth"))) == {"backbone.0.weight", "backbone.0.bias"}


def test_layers_of_heads_are_named_once() -> None:
    names = ["decode_head.a.weight", "decode_head.a.bias", "backbone.head.weight"]
    names += ["networks.1.auxiliary_head.0.b.bias", "neck.c.weight"]
    assert head_layers(names) == ["decode_head.a", "networks.1.auxiliary_head.0.b"]


def start_of(make_config: MakeConfig, folder: Path) -> InitialWeights:
    return saved(network(make_config, 7, seed=3), folder / "a.pth")


def test_a_training_starts_from_the_weights_and_reports_it(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    """With steps of next to nothing, they are what it ends with."""
    start = start_of(make_config, tmp_path)
    cfg = make_config(learning_rate=1e-12, iterations=2)
    finished = train(cfg, "data", "training", tmp_path, start)
    report = read_json(finished / "training.json")["init_from"]
    assert (report["digest"], report["fresh"]) == ("a digest", 4)
    given, got = (
        torch.load(path, weights_only=True) for path in (start.path, finished / "weights.pth")
    )
    torch.testing.assert_close(backbone(got), backbone(given), rtol=0, atol=1e-6)
    assert got["decode_head.conv_seg.weight"].shape == (3, 8, 1, 1)
    without = train(cfg, "data", "training", tmp_path)
    assert "init_from" not in read_json(without / "training.json")
    assert without.parent != finished.parent


def test_a_training_is_of_the_content_of_its_start(make_config: MakeConfig, tmp_path: Path) -> None:
    cfg = make_config()
    one, moved, other = (
        segmentation.fingerprint(cfg, "data", tmp_path, InitialWeights(Path(path), digest))
        for path, digest in (("a", "1"), ("b", "1"), ("a", "2"))
    )
    assert one == moved != other
    assert segmentation.fingerprint(cfg, "data", tmp_path, None) not in (one, other)


def test_a_resumed_training_does_not_start_again(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, start = make_config(iterations=4), start_of(make_config, tmp_path)
    whole = train(cfg, "data", "training", tmp_path / "whole", start)

    @contextmanager
    def killed_in_the_third(*_: Any) -> Iterator[Callable[..., None]]:
        calls = iter(range(2))
        yield lambda *_: next(calls) and None

    with monkeypatch.context() as patch:
        patch.setattr(segmentation, "progress", killed_in_the_third)
        with pytest.raises(StopIteration):
            train(cfg, "data", "training", tmp_path / "killed", start)
    start.path.unlink()
    resumed = train(cfg, "data", "training", tmp_path / "killed", start)
    assert read_json(resumed / "training.json") == read_json(whole / "training.json")
    expected, got = (torch.load(f / "weights.pth", weights_only=True) for f in (whole, resumed))
    assert all(torch.equal(got[name], value) for name, value in expected.items())


def test_an_average_begins_at_the_weights(make_config: MakeConfig, tmp_path: Path) -> None:
    """The average of random weights and these would lie far from them."""
    start = start_of(make_config, tmp_path)
    cfg = make_config(learning_rate=1e-12, iterations=2, ema=0.99)
    finished = train(cfg, "data", "training", tmp_path, start)
    got = torch.load(finished / "weights.pth", weights_only=True)
    given = torch.load(start.path, weights_only=True)
    torch.testing.assert_close(backbone(got), backbone(given), rtol=0, atol=1e-6)
