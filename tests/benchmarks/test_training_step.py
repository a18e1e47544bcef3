"""What the measurement of steps and loading compares is what it says."""

from pathlib import Path

import pytest
import torch
from mmseg.registry import DATASETS

from benchmarks.labelled_shards import shard_dataset, write_dataset
from benchmarks.training_step import (
    BATCH,
    compare_loading,
    compare_steps,
    config,
    render,
    write_loose,
)
from storybook.vocabulary import CLASS_NAMES

COUNT = 6 * BATCH


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same samples in shards and as files."""
    folder = tmp_path_factory.mktemp("step")
    samples = list(render(COUNT))
    write_dataset(folder, samples, CLASS_NAMES["page"])
    write_loose(folder / "loose", samples)
    return folder


def test_shards_and_loose_files_hold_the_same_samples(root: Path) -> None:
    pipeline = [
        step for step in config(root, "weighted").train_pipeline if "Random" not in step["type"]
    ]
    pipeline = [step for step in pipeline if step["type"] != "PhotoMetricDistortion"]
    shards = DATASETS.build({**shard_dataset(root, "train"), "pipeline": pipeline})
    loose = DATASETS.build(
        {"type": "LooseFiles", "data_root": str(root / "loose"), "pipeline": pipeline}
    )
    assert len(shards) == len(loose) == COUNT
    for number in (0, COUNT - 1):
        one, other = shards[number], loose[number]
        assert torch.equal(one["inputs"], other["inputs"])
        for kind in ("gt_sem_seg", "gt_reliability"):
            maps = [getattr(item["data_samples"], kind).data for item in (one, other)]
            assert torch.equal(*maps)


def test_steps_are_of_co_training_with_classmix_and_of_one_network(root: Path) -> None:
    single, double = (config(root, method) for method in ("weighted", "co_training"))
    assert double.model.segmentor.backbone == single.model.backbone
    assert double.custom_hooks[0]["classmix"] == 0.5
    rows, ratio = compare_steps(root, rounds=1)
    times = [float(row["ms a batch"]) for row in rows]
    assert ratio == pytest.approx(times[1] / (2 * times[0]), rel=0.01)


def test_loading_is_measured_in_samples_and_cores(root: Path) -> None:
    rows, medians = compare_loading(root, COUNT, rounds=1)
    assert [row["what"] for row in rows] == [
        f"loading from {name}, {COUNT} samples" for name in ("shards", "loose files")
    ]
    assert 0 < medians["busy"] < 3 and medians["speed"] > 0
    rates = [float(row["samples/s"]) for row in rows]
    assert medians["speed"] == pytest.approx(rates[0] / rates[1], rel=0.01)
