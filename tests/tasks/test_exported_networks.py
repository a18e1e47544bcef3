"""What a file says that it was exported from; nothing in it is run for that."""

import importlib.util
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.checksums import file_md5
from tasks.exported_networks import WEIGHTS_MD5, made_from, source_md5
from tasks.params import InputError

MD5 = "0123456789abcdef" * 2


def checkpoint(path: Path, meta: Any) -> Path:
    torch.save({"state_dict": {"weight": torch.zeros(3)}, "meta": meta}, path)
    return path


def torchscript(path: Path, texts: dict[str, str]) -> Path:
    module = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    torch.jit.save(module, path, _extra_files=texts)
    return path


def test_a_file_names_the_weights_that_it_is_of(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "a.pth", {WEIGHTS_MD5: MD5})
    assert made_from(path) == source_md5(path) == MD5
    script = torchscript(tmp_path / "a.pt", {"classes.json": "[]", WEIGHTS_MD5: MD5})
    assert made_from(script) == MD5


def test_weights_that_name_nothing_are_their_own_source(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    torch.save({"weight": torch.zeros(3)}, weights)
    assert made_from(weights) is None and source_md5(weights) == file_md5(weights)
    assert made_from(checkpoint(tmp_path / "b.pth", {"dataset_meta": {}})) is None
    assert made_from(checkpoint(tmp_path / "c.pth", None)) is None
    assert made_from(torchscript(tmp_path / "d.pt", {"classes.json": "[]"})) is None


class Code:
    """Pickled, it would write a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_is_run_and_what_is_no_md5_is_not_believed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    assert made_from(checkpoint(tmp_path / "a.pth", {WEIGHTS_MD5: MD5, "x": Code(victim)})) is None
    assert not victim.exists()
    for said in ("../" + MD5, MD5.upper(), MD5 + "0", 7, [MD5]):
        assert made_from(checkpoint(tmp_path / "b.pth", {WEIGHTS_MD5: said})) is None
    assert made_from(torchscript(tmp_path / "c.pt", {WEIGHTS_MD5: "0" * 10_000})) is None


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.onnx"])
def test_what_cannot_be_read_says_nothing(tmp_path: Path, name: str) -> None:
    if name.endswith(".onnx"):
        pytest.importorskip("onnx", reason="needs ONNX, which `make onnx` installs")
    path = tmp_path / name
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("a/data.pkl", b"no pickle")
    for data in (b"", b"bytes", whole.getvalue(), whole.getvalue()[:-9]):
        path.write_bytes(data)
        assert made_from(path) is None


def test_onnx_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"a\.onnx: reading ONNX needs onnx, .*: run `make onnx`"):
        made_from(tmp_path / "a.onnx")
