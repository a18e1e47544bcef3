"""What an exported network says of the weights that it was made from.

Each form has room for a text beside the network: ``meta`` of a checkpoint, TorchScript's extra
files, ONNX's ``metadata_props``. Nothing is run from a file. Imports torch only to read a
checkpoint.
"""

import importlib.util
import re
import zipfile
from pathlib import Path
from typing import Any

from tasks.checksums import file_md5
from tasks.params import InputError

WEIGHTS_MD5 = "weights.md5"
"""Its name in each form; the MD5 is the one that DVC knows the weights by."""

_MD5 = re.compile("[0-9a-f]{32}")


def source_md5(weights: Path) -> str:
    """What an export carries: the MD5 of ``weights``, or of what these were exported from."""
    return made_from(weights) or file_md5(weights)


def made_from(path: Path) -> str | None:
    """The MD5 of the weights that a file says it was exported from; None where it says nothing.

    Raises:
        InputError: it is ONNX, and what reads that is not installed.
    """
    if path.suffix == ".onnx" and importlib.util.find_spec("onnx") is None:
        raise InputError(
            f"{path}: reading ONNX needs onnx, which is not installed: run `make onnx`"
        )
    try:
        said = _of_onnx(path) if path.suffix == ".onnx" else _of_torch(path)
    except Exception:  # of zipfile, torch or protobuf: whatever the bytes lead to
        return None
    return said if isinstance(said, str) and _MD5.fullmatch(said) else None


def _of_onnx(path: Path) -> Any:
    import onnx

    properties = onnx.load(path, load_external_data=False).metadata_props
    return {one.key: one.value for one in properties}.get(WEIGHTS_MD5)


def _of_torch(path: Path) -> Any:
    """Of TorchScript or a checkpoint, which are both zip files; the first is never loaded."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        extra = [name for name in names if name.endswith(f"/extra/{WEIGHTS_MD5}")]
        if extra:
            with archive.open(extra[0]) as file:
                return file.read(64).decode()
    if any(name.endswith("/constants.pkl") for name in names):  # somebody else's TorchScript
        return None
    import torch

    return torch.load(path, weights_only=True, map_location="meta")["meta"].get(WEIGHTS_MD5)
