"""The measurement's sets, its summary, and that it goes on where it was stopped."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import cells, reliability_camvid
from benchmarks.labelled_shards import shard_dataset
from benchmarks.reliability_camvid import (
    CAMVID,
    CLASSES,
    METHODS,
    main,
    read_set,
    summarise,
    write_labels,
)
from mmseg_configs.reliability import ShardDataset

needs_camvid = pytest.mark.skipif(
    not CAMVID.is_dir(), reason="needs CamVid in ../shared/data, no part of the repository"
)


def row(method: str, seed: int, miou: float) -> dict[str, Any]:
    return {"method": method, "seed": seed, "labels right": 0.7, "mIoU": miou, "minutes": 1.0}


def test_the_gap_is_between_wrong_and_true_labels() -> None:
    values = {
        "none": (0.2, 0.4),
        "ignore_band": (0.3, 0.3),
        "weighted": (0.35, 0.45),
        "co_training": (0.4, 0.5),
        "clean": (0.5, 0.5),
    }
    rows = [
        row(method, seed, v) for method, found in values.items() for seed, v in enumerate(found)
    ]
    table, recovered = summarise(rows)
    assert recovered == pytest.approx(0.75)
    assert [line["method"] for line in table] == list(METHODS)
    shares = [line["of the gap"] for line in table]
    assert shares == pytest.approx([0, 0, 0.5, 0.75, 1])
    assert table[0]["standard deviation"] == pytest.approx(0.1414)
    assert table[3]["by seed"] == "0.4000, 0.5000"


def test_wrong_and_true_labels_differ_in_labels_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(3):
        label = np.full((180, 240), 3, np.uint8)
        label[:90], label[:, :20] = 0, 255
        pictures.append((rng.integers(0, 256, (180, 240, 3)).astype(np.uint8), label))
    digests = []
    for clean in (False, True):
        root = tmp_path / str(clean)
        digest, right = write_labels(root, pictures, seed=1, clean=clean)
        digests.append(digest)
        assert (right == 1) == clean
        config = shard_dataset(root, "train")
        dataset = ShardDataset(config["folder"], "train", root=config["root"], pipeline=[])
        assert len(dataset) == 3 and dataset.metainfo["classes"] == CLASSES
    assert digests[0] != digests[1]
    assert write_labels(tmp_path / "again", pictures, seed=1, clean=False)[0] == digests[0]


@needs_camvid
def test_what_is_unlabelled_is_ignored() -> None:
    image, label = read_set(CAMVID / "val")[0]
    assert image.shape == (180, 240, 3) and label.shape == (180, 240)
    assert set(np.unique(label)) <= {*range(len(CLASSES)), 255}


@needs_camvid
def test_a_quick_measurement_runs_and_a_stopped_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    run_cell = reliability_camvid.run_cell

    def cell(method: str, seed: int, changes: dict[str, Any], most: int | None) -> Any:
        ran.append(method)
        if len(ran) == 2:
            raise KeyboardInterrupt
        if method in ("none", "co_training"):
            return run_cell(method, seed, changes, most)
        return row(method, seed, 0.5)

    monkeypatch.setattr(cells, "STORE", tmp_path / "cells")
    monkeypatch.setattr(reliability_camvid, "STORE", tmp_path)
    monkeypatch.setattr(reliability_camvid, "run_cell", cell)
    with pytest.raises(KeyboardInterrupt):
        main(quick=True)
    main(quick=True)
    assert ran == ["none", "ignore_band", *METHODS[1:]]
    assert "share of the gap that co-training recovers" in capsys.readouterr().out
