"""Exported networks answer as they did before, and say what their classes are."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import Tensor

from tasks import export_network
from tasks.checkpoints import WEIGHTS
from tasks.checksums import file_md5
from tasks.export_network import ImageNetwork, app, difference, export
from tasks.exported_networks import made_from
from tasks.params import InputError
from tasks.records import write_json
from tasks.segmenter import Segmenter, build_network

NAMES = ["background", "red", "blue"]


@pytest.fixture
def make_model(make_config: Callable[..., Config], tmp_path: Path) -> Callable[..., Path]:
    """The toy network, as a run leaves it."""

    def make(rgb: bool = True, **changes: Any) -> Path:
        cfg = make_config(**changes)
        cfg.model.data_preprocessor.bgr_to_rgb = rgb
        cfg.model.data_preprocessor.mean = [100.0, 120.0, 140.0]
        torch.manual_seed(0)
        network = build_network(cfg)
        for name, value in network.named_parameters():
            if name.endswith("conv_seg.weight"):
                torch.nn.init.normal_(value, std=0.3)
        folder = tmp_path / "model"
        folder.mkdir()
        torch.save(network.state_dict(), folder / "weights.pth")
        cfg.dump(folder / "config.py")
        write_json(folder / "classes.json", NAMES)
        return folder

    return make


def random_images(count: int, height: int, width: int) -> np.ndarray:
    shape = (count, height, width, 3)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def check_labels(run: Callable[[Tensor], Tensor], model: Path) -> None:
    """The exported network's best classes are the label maps, at any size and number."""
    segmenter = Segmenter(model, "cpu")
    for images in (random_images(3, 16, 16), random_images(1, 40, 24)):
        logits = run(torch.from_numpy(images).permute(0, 3, 1, 2).float())
        assert logits.shape == (len(images), 3, *images.shape[1:3])
        expected = np.stack(list(segmenter.label(images)))
        np.testing.assert_array_equal(logits.argmax(1).numpy(), expected)
        assert len(np.unique(expected)) > 1


@pytest.mark.parametrize(
    "changes",
    [{"reliability": "none"}, {"reliability": "co_training"}, {"rgb": False}],
    ids=["one network", "two networks", "of BGR images"],
)
def test_torchscript_answers_as_the_network_does(
    make_model: Callable[..., Path], tmp_path: Path, changes: dict[str, Any]
) -> None:
    model, path = make_model(**changes), tmp_path / "new/network.pt"
    compared = export(Segmenter(model, "cpu"), path, model / WEIGHTS)
    assert [shape for shape, _ in compared] == [(2, 3, 16, 16), (1, 3, 48, 80)]
    assert all(value < 1e-5 for _, value in compared)
    assert list(path.parent.iterdir()) == [path]
    files = {"classes.json": "", "weights.md5": ""}
    loaded = torch.jit.load(path, _extra_files=files)
    assert json.loads(files["classes.json"]) == NAMES
    assert files["weights.md5"].decode() == made_from(path) == file_md5(model / WEIGHTS)
    check_labels(loaded, model)


def test_onnx_answers_as_the_network_does(make_model: Callable[..., Path], tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs ONNX, which `make onnx` installs")
    model, path = make_model(reliability="co_training"), tmp_path / "network.onnx"
    compared = export(Segmenter(model, "cpu"), path, model / WEIGHTS)
    assert all(value < 1e-5 for _, value in compared)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    texts = session.get_modelmeta().custom_metadata_map
    assert json.loads(texts["classes.json"]) == NAMES
    assert texts["weights.md5"] == made_from(path) == file_md5(model / WEIGHTS)
    check_labels(
        lambda images: torch.tensor(session.run(None, {"images": images.numpy()})[0]), model
    )


def test_a_difference_is_a_share_of_the_largest_logit(make_model: Callable[..., Path]) -> None:
    module = ImageNetwork(Segmenter(make_model(), "cpu").network).eval()
    images = torch.from_numpy(random_images(2, 16, 16)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        largest = module(images).abs().max()
    assert difference(module, module, images) < 1e-6
    assert difference(lambda x: module(x) + 0.25 * largest, module, images) == pytest.approx(0.25)


@pytest.mark.parametrize("change", [lambda x: x * 1.001, lambda x: x * torch.nan])
def test_a_file_that_answers_otherwise_is_not_written(
    make_model: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Tensor], Tensor],
) -> None:
    def wrong(module: ImageNetwork, example: Tensor, texts: Any, path: Path) -> Any:
        path.touch()
        return lambda images: change(module(images))

    monkeypatch.setitem(export_network.FORMATS, ".pt", wrong)
    model = make_model()
    segmenter = Segmenter(model, "cpu")
    with pytest.raises(InputError, match=r"a\.pt: not written: outputs differ by (1\.0e-03|nan)"):
        export(segmenter, tmp_path / "a.pt", model / WEIGHTS)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_files_are_not_replaced_and_formats_are_told(
    make_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    segmenter, weights = Segmenter(model, "cpu"), model / WEIGHTS
    (tmp_path / "a.pt").write_text("mine")
    with pytest.raises(InputError, match=r"a\.pt: exists; choose another name"):
        export(segmenter, tmp_path / "a.pt", weights)
    assert (tmp_path / "a.pt").read_text() == "mine"
    with pytest.raises(InputError, match=r"a\.tflite: must end in \.pt, \.onnx or \.pth"):
        export(segmenter, tmp_path / "a.tflite", weights)
    monkeypatch.setattr(export_network, "ONNX_PACKAGES", ("torch", "no_such_package"))
    with pytest.raises(InputError, match="no_such_package: not installed, and needed for ONNX"):
        export(segmenter, tmp_path / "a.onnx", weights)


def test_the_command_tells_how_well_the_outputs_agree(
    make_model: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "a.pt"
    command = [str(path), "--model", str(make_model())]
    app(command, exit_on_error=False, result_action="return_value")
    assert path.is_file()
    assert "2x3x16x16: outputs agree to " in caplog.text
    assert f"written: {path}" in caplog.text
