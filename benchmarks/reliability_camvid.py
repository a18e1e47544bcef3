"""What reliability-aware training gains on real pictures whose labels are wrong in a known way.

CamVid's training labels are made wrong as masks from attention are (`benchmarks.attention_noise`),
with a reliability that knows of the errors imperfectly. The same light network learns from them
from scratch with each method, and from the true labels; all take the same number of iterations, and
are measured on true labels that no training sees. Three seeds, of the noise and of the training.

Everything is at 240x180 pixels. A finished training is kept under ``.maskloom``, and a finished
cell by the commit, so that a measurement that was stopped goes on where it was.
"""

import statistics
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cv2
import cyclopts
import numpy as np
from cyclopts import Parameter
from PIL import Image

from benchmarks.attention_noise import wrong_labels
from benchmarks.cells import committed, run_cells
from benchmarks.labelled_shards import Sample, shard_dataset, write_dataset
from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from tasks.iou import confusion_matrix, iou_per_class, mean_iou
from tasks.label_maps import IGNORE, decode
from tasks.labelled_sets import list_pairs
from tasks.labelled_trees import CAMVID_CLASSES as CLASSES
from tasks.labelled_trees import camvid_label
from tasks.params import load_params
from tasks.records import content_id
from tasks.segmentation import train
from tasks.segmenter import Segmenter
from tasks.training_config import build_config

ROOT = Path(__file__).parents[1]
CAMVID = ROOT.parent / "shared/data/camvid"
CONFIG = "mmseg_configs/camvid/deeplabv3plus_r18-d8_camvid-240x180.py"
STORE = ROOT / ".maskloom/benchmarks/reliability_camvid"
SIZE = (240, 180)
METHODS = ("none", "ignore_band", "weighted", "co_training", "clean")
"""URN is none of them: these labels come of no response, so there is no variance over scalings."""
SEEDS = (0, 1, 2)
RECIPE: dict[str, Any] = {
    "config": CONFIG,
    "iterations": 500,
    "batch_size": 4,
    "learning_rate": 0.002,
    "checkpoint_interval": 250,
    "num_workers": 0,
    "dtype": "float32",  # bfloat16 gave NaN now and then on a CPU, at sides such as 45
    "warmup": 0.0,  # reliability counts from the start: a quarter of the labels is wrong
    "fade": 0.0,
}
DOUBTFUL = 0.25
"""Co-training's quantile: the share of the labels that the noise makes wrong, rounded."""
CROSS_FROM = 0.6
"""Its networks learn from scratch; they know too little to teach each other before. Chosen on every
sixth picture of the training set, without which the others were learnt."""
RECOVERED = 0.5
"""The bar: the share of the gap between the wrong labels and the true ones."""


def read_set(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """CamVid's pictures and labels at `SIZE`; what is unlabelled is ignored."""
    pairs = []
    for pair in list_pairs(folder):
        with Image.open(pair.image) as opened:
            image = np.asarray(opened.convert("RGB"))
        label = camvid_label(decode(pair.label.read_bytes()), len(CLASSES))
        pairs.append(
            (
                cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA),
                cv2.resize(label, SIZE, interpolation=cv2.INTER_NEAREST),
            )
        )
    return pairs


def write_labels(
    root: Path, pictures: list[tuple[np.ndarray, np.ndarray]], seed: int, clean: bool
) -> tuple[str, float]:
    """The training set below ``root``, with wrong labels or the true ones.

    Returns:
        Its digest, and the share of its labels that are right.
    """
    samples, right = [], []
    for number, (image, label) in enumerate(pictures):
        given, rank = label, np.full_like(label, 255)
        if not clean:
            given, rank = wrong_labels(label, seed * 10_000 + number)
        right.append((given == label)[label != IGNORE].mean())
        samples.append(Sample(f"{number:04d}", "train", image, given, rank))
    return write_dataset(root, samples, CLASSES), float(np.mean(right))


def measure(segmenter: Segmenter, pictures: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean IoU over the classes, 0..1, over all pixels of the pictures."""
    confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    labelled = segmenter.label((image for image, _ in pictures), batch_size=8)
    for (_, truth), prediction in zip(pictures, labelled, strict=True):
        confusion += confusion_matrix(truth, prediction, len(CLASSES))
    return mean_iou(iou_per_class(confusion))


def run_cell(method: str, seed: int, changes: dict[str, Any], most: int | None) -> Row:
    """Train with one method and measure.

    Args:
        changes: of `RECIPE`.
        most: pictures of either set; None is all.
    """
    started = time.monotonic()
    pictures, held_out = (read_set(CAMVID / name)[:most] for name in ("train", "val"))
    root = STORE / content_id(seed, method == "clean", len(pictures))
    digest, right = write_labels(root, pictures, seed, method == "clean")
    used = "none" if method == "clean" else method
    section = load_params(ROOT / "presets/storybook.yaml").train_segmenter
    co_training = section.co_training.model_copy(
        update={"quantile": DOUBTFUL, "sure": 0.0, "cross_from": CROSS_FROM}  # BECO's own
    )
    recipe = RECIPE | changes | {"reliability": used, "seed": seed, "co_training": co_training}
    cfg = build_config(
        section.model_copy(update=recipe),
        shard_dataset(root, "train"),
        None,
        len(CLASSES),
        reliability=True,
        root=ROOT,
    )
    finished = train(cfg, digest, f"{method}, seed {seed}", ROOT)
    return {
        "method": method,
        "seed": seed,
        "labels right": round(right, 4),
        "mIoU": round(measure(Segmenter(finished), held_out), 4),
        "minutes": round((time.monotonic() - started) / 60, 1),
    }


def summarise(rows: list[Row]) -> tuple[list[Row], float]:
    """A row per method, and the share of the gap that co-training recovers."""
    values = {
        method: [float(row["mIoU"]) for row in rows if row["method"] == method]
        for method in METHODS
    }
    mean = {method: statistics.mean(found) for method, found in values.items()}
    gap = mean["clean"] - mean["none"]
    table: list[Row] = [
        {
            "method": method,
            "mIoU, mean": round(mean[method], 4),
            "standard deviation": round(statistics.stdev(found), 4) if len(found) > 1 else "",
            "of the gap": round((mean[method] - mean["none"]) / gap, 3) if gap else "",
            "by seed": ", ".join(f"{value:.4f}" for value in found),
        }
        for method, found in values.items()
    ]
    return table, (mean["co_training"] - mean["none"]) / gap if gap else 0.0


def main(
    *,
    quick: Annotated[bool, Parameter(help="one seed, two iterations, few pictures; no result")] = (
        False
    ),
) -> None:
    """Compare the ways to train on doubtful labels, on CamVid with labels that are made wrong."""
    if not CAMVID.is_dir():
        raise SystemExit("CamVid is not there: it belongs in ../shared/data/camvid")
    changes = {"iterations": 2, "batch_size": 2, "checkpoint_interval": 2} if quick else {}
    seeds = SEEDS[:1] if quick else SEEDS
    cells = {
        f"{method}, {seed}": partial(run_cell, method, seed, changes, 4 if quick else None)
        for seed in seeds
        for method in METHODS
    }
    rows = run_cells("reliability_camvid", cells, quick=quick)
    table, recovered = summarise(rows)
    right = statistics.mean(float(row["labels right"]) for row in rows if row["method"] == "none")
    bars = [
        Bar.at_least(
            "share of the gap that co-training recovers",
            recovered,
            -9 if quick else RECOVERED,
            3,
        )
    ]
    ran = what_ran(
        commit=committed()[:12],
        seeds=", ".join(map(str, seeds)),
        rounds=1,
        iterations=changes.get("iterations", RECIPE["iterations"]),
        labels_right=round(right, 4),
    )
    finish("reliability_camvid", ran, table, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
