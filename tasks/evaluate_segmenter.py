"""Stage ``evaluate_segmenter``: both networks on real labelled images, class by class."""

import csv
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np

from tasks import records
from tasks.checkpoints import WEIGHTS
from tasks.entry import run_stage
from tasks.iou import confusion_matrix, iou_per_class, mean_iou
from tasks.label_maps import decode, encode_image, encode_label
from tasks.labelled_sets import Pair, list_pairs
from tasks.params import Params
from tasks.progress import progress
from tasks.reference_images import read_image
from tasks.segmenter import Segmenter

log = logging.getLogger(__name__)

SHOWN = 12
"""Test images that are kept with their label maps for the report."""

Ious = dict[str, float | None]


def read_images(pairs: Sequence[Pair]) -> Iterator[np.ndarray]:
    """The images, RGB ``uint8 (H, W, 3)``, one at a time, as trainings and predictions see them."""
    for pair in pairs:
        yield read_image(pair.image)


def measure(
    segmenter: Segmenter, pairs: Sequence[Pair], names: Sequence[str], batch_size: int, what: str
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The `confusion_matrix` over all pixels of the set, and the first `SHOWN` label maps."""
    confusion = np.zeros((len(names), len(names)), np.int64)
    shown: list[np.ndarray] = []
    with progress(what, len(pairs), "images") as advance:
        labelled = segmenter.label(read_images(pairs), batch_size)
        for pair, prediction in zip(pairs, labelled, strict=True):
            truth = decode(pair.label.read_bytes())
            confusion += confusion_matrix(truth, prediction, len(names))
            if len(shown) < SHOWN:
                shown.append(prediction)
            advance(1)
    return confusion, shown


def name_ious(confusion: np.ndarray, names: Sequence[str]) -> Ious:
    """IoU (0..1) by class name."""
    ious = [None if iou is None else round(iou, 4) for iou in iou_per_class(confusion)]
    return dict(zip(names, ious, strict=True))


def report(test_set: str, images: int, ours: Ious | None, theirs: Ious | None) -> dict[str, Any]:
    """``metrics/evaluation.json``; what was not measured is null or empty, and said in words.

    Args:
        test_set: as in the parameters.
        images: how many were measured.
        ours, theirs: IoU by class of the synthetic-only network and of the reference, if measured.
    """
    not_measured = []
    if ours is None:
        not_measured.append(
            "Nothing was measured on real images: evaluate_segmenter.test_set is none."
        )
    elif theirs is None:
        not_measured.append(
            "There is no real-trained reference: train_reference.labelled_set is none."
        )
    miou, reference_miou = (
        round(mean_iou(list(ious.values())), 4) if ious else None for ious in (ours, theirs)
    )
    return {
        "miou": miou,
        "reference_miou": reference_miou,
        "ratio": None if miou is None or not reference_miou else round(miou / reference_miou, 4),
        "per_class": ours or {},
        "reference_per_class": theirs or {},
        "images": images,
        "test_set": test_set,
        "not_measured": not_measured,
    }


def write_rows(path: Path, evaluation: dict[str, Any]) -> None:
    """The IoU by class as CSV for ``dvc plots``: class, synthetic, reference."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["class", "synthetic", "reference"])
        for name, iou in evaluation["per_class"].items():
            writer.writerow([name, iou, evaluation["reference_per_class"].get(name)])


def write_confusion(path: Path, confusion: np.ndarray, names: Sequence[str]) -> None:
    """The synthetic-only network's confusion matrix as CSV: pixels, a row for each true class."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["true class", *names])
        for name, counts in zip(names, confusion.tolist(), strict=True):
            writer.writerow([name, *counts])


def run(params: Params, root: Path = Path()) -> None:
    """Write ``metrics/evaluation.json``, the plot's rows and ``data/evaluation``.

    ``confusion.csv`` lies there, see `write_confusion`, and the first test images as
    ``0000.image.png``, with their label maps ``0000.truth.png``, ``0000.prediction.png`` and, with
    a reference, ``0000.reference.png``.
    """
    section = params.evaluate_segmenter
    test_set = section.test_set
    out = root / "data/evaluation"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    pairs = [] if test_set == "none" else list_pairs(root / test_set)
    names = params.expand_prompts.label_names
    networks = {"prediction": "models/segmenter", "reference": "models/reference"}
    measured: dict[str, Ious] = {}
    for part, folder in networks.items():
        if not pairs or not (root / folder / WEIGHTS).exists():
            continue
        segmenter = Segmenter(
            root / folder,
            params.train_segmenter.device,
            section.window,
            section.flip,
            section.scales,
        )
        what = f"measuring {folder}"
        confusion, shown = measure(segmenter, pairs, names, section.batch_size, what)
        measured[part] = name_ious(confusion, names)
        if part == "prediction":
            write_confusion(out / "confusion.csv", confusion, names)
        for number, prediction in enumerate(shown):
            (out / f"{number:04d}.{part}.png").write_bytes(encode_label(prediction))
    first = pairs[:SHOWN]
    for number, (pair, image) in enumerate(zip(first, read_images(first), strict=True)):
        (out / f"{number:04d}.image.png").write_bytes(encode_image(image))
        truth = decode(pair.label.read_bytes())
        (out / f"{number:04d}.truth.png").write_bytes(encode_label(truth))
    ours, theirs = measured.get("prediction"), measured.get("reference")
    evaluation = report(test_set, len(pairs), ours, theirs)
    records.write_json(root / "metrics/evaluation.json", evaluation)
    write_rows(root / "plots/evaluation_per_class.csv", evaluation)
    for what, key in (("mIoU", "miou"), ("the reference's", "reference_miou")):
        if evaluation[key] is not None:
            log.info("%s: %.4f", what, evaluation[key])
    for reason in evaluation["not_measured"]:
        log.warning("%s", reason)


def main() -> None:
    """Measure both networks on real labelled images: metrics/evaluation.json."""
    run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
