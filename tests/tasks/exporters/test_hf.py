"""Parquet for Hugging Face, opened by ``datasets``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, DatasetDict, List, load_dataset
from datasets.features import ClassLabel, Image

from tasks.exporters import hf


@pytest.fixture
def load(tmp_path: Path) -> Callable[[Path], DatasetDict]:
    """Opens a folder with a cache of its own."""
    return lambda out: load_dataset(str(out), cache_dir=str(tmp_path / "cache"))


def arrays(dataset: Dataset, column: str) -> dict[str, np.ndarray]:
    plain = dataset.cast_column("image", Image(decode=False))
    names = [Path(row["image"]["path"]).stem for row in plain]
    return {n: np.array(row[column]) for n, row in zip(names, dataset, strict=True)}


@pytest.mark.parametrize("kind", ["plain", "hostile", "many_classes", "no_background"])
def test_pixels_and_labels_come_back(
    exported: Callable[..., Any],
    load: Callable[[Path], DatasetDict],
    request: pytest.FixtureRequest,
    kind: str,
) -> None:
    dataset = {} if kind == "plain" else request.getfixturevalue(kind)
    export = exported("hf", dataset, rejected=True)
    opened = load(export.out)
    assert sorted(opened) == ["rejected", "train", "val"]
    for split, rows in opened.items():
        for column in ("image", "label", "reliability"):
            export.assert_same(column, split, arrays(rows, column))


def test_its_features_are_pictures_and_classes(
    exported: Callable[..., Any], load: Callable[[Path], DatasetDict], hostile: dict[str, Any]
) -> None:
    train = load(exported("hf", hostile).out)["train"]
    assert isinstance(train.features["image"], Image)
    assert isinstance(train.features["label"], Image)
    assert isinstance(train.features["classes"], List)
    assert isinstance(train.features["classes"].feature, ClassLabel)
    assert train.features["classes"].feature.names == list(hostile["names"])
    assert train[0]["classes"] == [3]
    assert train[0]["prompt"] == hostile["prompt"]
    assert train["seed"][:] == [2**62 + number for number in range(4)]
    assert train["kept"][:] == [True] * 4


def test_a_split_goes_over_several_files_and_row_groups(
    exported: Callable[..., Any],
    load: Callable[[Path], DatasetDict],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hf, "ROW_GROUP", 2)
    monkeypatch.setattr(hf, "FILE_BYTES", 1)
    export = exported("hf")
    names = sorted(path.name for path in (export.out / "data").iterdir())
    assert names == ["train-00000.parquet", "train-00001.parquet", "val-00000.parquet"]
    export.assert_same("label", "train", arrays(load(export.out)["train"], "label"))
