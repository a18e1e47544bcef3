"""Labelled trees to validate, and what the validator says of them."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.export import Format, export
from tasks.exporters.origin import read_origin
from tasks.exporters.source import Source
from tasks.validate import Report, validate
from tasks.validators.layouts import detect, given_classes, read_tree

LABEL = np.zeros((6, 8), np.uint8)
LABEL[2:5, 2:7] = 1
LABEL[0] = 255
IMAGE = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)


def check(tree: Path, classes: str | None = None) -> Report:
    given = given_classes(classes) if classes else None
    return validate(read_tree(tree, detect(tree), given), 2)


def found(report: Report) -> list[tuple[str, str]]:
    return [(one.file, one.rule) for one in report.findings]


def png(array: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.fixture
def make_export(make_dataset: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Makes a dataset and exports it."""

    def make(form: Format, dataset: dict[str, Any] | None = None, **changes: Any) -> Path:
        root = make_dataset(**(dataset or {}))
        export(form, Source(root, read_origin(root), **changes), tmp_path / "out")
        return tmp_path / "out"

    return make
