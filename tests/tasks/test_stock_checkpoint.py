"""A network as MMSegmentation's own checkpoint and config."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmseg.apis import init_model

from tasks.export_network import app
from tasks.params import InputError
from tasks.records import write_json
from tasks.segmenter import Segmenter, build_network

NAMES = ["background", "red", "blue"]
IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def make_model(make_config: Callable[..., Config], tmp_path: Path) -> Callable[..., Path]:
    """The toy network of a method, as a run leaves it."""

    def make(reliability: str) -> Path:
        cfg = make_config(reliability=reliability)
        torch.manual_seed(0)
        folder = tmp_path / "model"
        folder.mkdir()
        torch.save(build_network(cfg).state_dict(), folder / "weights.pth")
        cfg.dump(folder / "config.py")
        write_json(folder / "classes.json", NAMES)
        return folder

    return make


def export(path: Path, model: Path, *more: str) -> None:
    command = [str(path), "--model", str(model), *more]
    app(command, exit_on_error=False, result_action="return_value")


def logits(network: Any) -> torch.Tensor:
    with torch.no_grad():
        samples = network.predict(IMAGES)
    return torch.stack([sample.seg_logits.data for sample in samples])


@pytest.mark.parametrize("index", [0, 1])
def test_either_of_two_networks_answers_alone_in_mmsegmentation(
    make_model: Callable[..., Path], tmp_path: Path, index: int
) -> None:
    model, path = make_model("co_training"), tmp_path / "new/alone.pth"
    export(path, model, "--network", str(index))
    assert "mmseg_configs" not in path.with_suffix(".py").read_text()
    loaded = init_model(str(path.with_suffix(".py")), str(path), "cpu")
    assert type(loaded).__name__ == "EncoderDecoder"
    assert list(loaded.dataset_meta["classes"]) == NAMES
    both = Segmenter(model, "cpu").network
    torch.testing.assert_close(logits(loaded), logits(both.networks[index]), rtol=0, atol=0)
    assert not torch.equal(logits(loaded), logits(both.networks[1 - index]))
    before, after = both.data_preprocessor, loaded.data_preprocessor
    assert torch.equal(after.mean, before.mean) and torch.equal(after.std, before.std)
    assert Segmenter(path.with_suffix(".py"), "cpu", checkpoint=path).class_names == NAMES


def test_a_single_network_is_exported_as_it_is(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    model, path = make_model("weighted"), tmp_path / "single.pth"
    with pytest.raises(InputError, match=r"--network: .* has one network; leave it out"):
        export(path, model, "--network", "1")
    export(path, model)
    loaded = init_model(str(path.with_suffix(".py")), str(path), "cpu")
    torch.testing.assert_close(
        logits(loaded), logits(Segmenter(model, "cpu").network), rtol=0, atol=0
    )
    with pytest.raises(InputError, match=r"single\.pth: exists"):
        export(path, model)


def test_one_of_two_networks_must_be_chosen(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = make_model("co_training")
    with pytest.raises(InputError, match=r"has two networks .*; choose 0 or 1"):
        export(tmp_path / "a.pth", model)
    with pytest.raises(InputError, match=r"--network: is for \.pth"):
        export(tmp_path / "a.pt", model, "--network", "0")
    assert not list(tmp_path.glob("a.*"))
