"""What all tests of formats need: an export to open, and what should be in it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.export import Format, export
from tasks.exporters.origin import read_origin
from tasks.exporters.source import Source, joined_rows
from tasks.label_maps import decode
from tasks.records import slug
from tasks.shards import parse_uri


@dataclass(frozen=True)
class Exported:
    """An export in ``out`` of the dataset below ``root``."""

    out: Path
    root: Path

    def originals(self, kind: str, split: str) -> dict[str, np.ndarray]:
        """Name of a sample's files -> the array in the shards."""
        arrays = {}
        for row in joined_rows(self.root):
            if (row["split"] or "rejected") == split:
                member = parse_uri(row[kind])
                data = (self.root / member.path).read_bytes()
                part = data[member.offset : member.offset + member.size]
                arrays[slug(row["sample_id"])] = decode(part)
        return arrays

    def assert_same(self, kind: str, split: str, found: dict[str, np.ndarray]) -> None:
        """The samples of a split, all of them, with the values and the type that they had."""
        expected = self.originals(kind, split)
        assert sorted(found) == sorted(expected) and found
        for name, array in expected.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)


@pytest.fixture
def exported(make_dataset: Callable[..., Path], tmp_path: Path) -> Callable[..., Exported]:
    """Makes a dataset and exports it."""

    def make(form: Format, dataset: dict[str, Any] | None = None, **changes: Any) -> Exported:
        root = make_dataset(**(dataset or {}))
        out = tmp_path / "out" / form
        export(form, Source(root, read_origin(root), **changes), out)
        return Exported(out, root)

    return make


@pytest.fixture
def hostile() -> dict[str, Any]:
    """A dataset whose names are paths, markup, of several lines, long, empty or no ASCII."""
    return {
        "names": (
            "background",
            "../../etc/passwd",
            'a "quoted", <script>alert(1)</script> | [red]\n---\nname: x',
            "犬 $HOME `rm -rf`",
        ),
        "prompt": 'a "../../x"\r\n<img src=x onerror=alert(1)> {0} %s [bold] \x1b[31m 犬',
        "ids": ("../../../escape", "/etc/passwd", "a/b", "..", "c" * 300, "A"),
    }


@pytest.fixture
def many_classes() -> dict[str, Any]:
    """A dataset of 300 classes, whose labels have 16 bits."""
    return {"names": ("background", *(f"class {number}" for number in range(1, 301)))}


@pytest.fixture
def no_background() -> dict[str, Any]:
    """A dataset whose label value 0 is a class."""
    return {"names": ("road", "car", "sky")}
