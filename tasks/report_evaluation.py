"""What the report says of the measurement: the result, class by class, and where networks err.

Reads ``metrics/evaluation.json`` and ``data/evaluation``. Imports no torch.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from tasks import pictures
from tasks.label_maps import decode, ignore_value
from tasks.pictures import RGB, data_uri, is_pixel_art, thumbnail
from tasks.report_adaptation import seen_pictures

MATRIX = 24
"""Labels up to which the confusion matrix is shown whole."""
CONFUSIONS = 8
"""The most frequent confusions that are listed."""

Row = dict[str, Any]


def headline(evaluation: Row, training: Row, reference: Row, adaptation: Row | None) -> str:
    """The result in a sentence or two."""
    made = f"trained on {training['images']:,} synthetic images, {seen_pictures(adaptation)}"
    if evaluation["miou"] is None:
        return (
            f"A segmentation network was {made}. How well it does on real images was not measured."
        )
    text = (
        f"A segmentation network {made}, "
        f"reaches {evaluation['miou']:.3f} mIoU on {evaluation['images']:,} labelled test images"
    )
    if evaluation["ratio"] is None:
        return f"{text}. There is no real-trained network to compare it with."
    return (
        f"{text}: {evaluation['ratio'] * 100:.0f} % of what the same network reaches when it is "
        f"trained on {reference['images']:,} real labelled images."
    )


def result_rows(evaluation: Row, colours: dict[str, str]) -> list[Row]:
    """IoU of each class for the bars, in the order of the evaluation."""
    ours = evaluation["per_class"] or {}
    theirs = evaluation["reference_per_class"] or {}
    return [
        {
            "name": name,
            "colour": colours[name],
            "synthetic": ours.get(name),
            "reference": theirs.get(name),
        }
        for name in {**ours, **theirs}
    ]


def read_confusion(folder: Path) -> tuple[list[str], np.ndarray] | None:
    """``confusion.csv`` as names and pixels ``int64 (C, C)``, a row a true class; None without."""
    path = folder / "confusion.csv"
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    return head[1:], np.array([row[1:] for row in rows], np.int64)


def confusion(names: list[str], pixels: np.ndarray) -> Row:
    """The confusion matrix to look at.

    Args:
        names: by label value.
        pixels: ``int64 (C, C)``, a row a true class.

    Returns:
        ``names``; ``matrix``, the shares (0..1) of each true class's pixels, None where a class has
        none, and None altogether above `MATRIX` labels; ``worst``, the largest shares off the
        diagonal with the ``true`` and ``said`` class.
    """
    whole = pixels.sum(1, keepdims=True)
    shares = pixels / np.maximum(whole, 1)
    wrong = np.where(np.eye(len(names), dtype=bool), 0, shares)
    order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]
    pairs = [np.unravel_index(at, wrong.shape) for at in order]
    matrix = [
        [float(share) for share in row] if total else None
        for row, total in zip(shares, whole[:, 0], strict=True)
    ]
    return {
        "names": names,
        "matrix": matrix if len(names) <= MATRIX else None,
        "worst": [
            {"true": names[true], "said": names[said], "share": float(wrong[true, said])}
            for true, said in pairs
            if wrong[true, said] > 0
        ],
    }


def image_card(image_path: Path, palette: list[RGB]) -> Row:
    """An image of the test set, its truth, and what each measured network makes of it."""
    stem = image_path.name.removesuffix(".image.png")
    image, truth = (
        decode(image_path.with_name(f"{stem}.{what}.png").read_bytes())
        for what in ("image", "truth")
    )
    small, small_truth = thumbnail(image), thumbnail(truth)
    networks = []
    for what, name in (("prediction", "synthetic only"), ("reference", "reference")):
        path = image_path.with_name(f"{stem}.{what}.png")
        if path.exists():
            label = decode(path.read_bytes())
            counted = truth != ignore_value(truth.dtype)
            seen = thumbnail(label)
            networks.append(
                {
                    "name": name,
                    "right": float((truth == label)[counted].mean()) if counted.any() else None,
                    "labels": data_uri(pictures.label_overlay(small, seen, palette)),
                    "errors": data_uri(pictures.difference(small, small_truth, seen)),
                }
            )
    return {
        "name": stem,
        "sharp": is_pixel_art(image),
        "image": data_uri(small),
        "truth": data_uri(pictures.label_overlay(small, small_truth, palette)),
        "networks": networks,
    }
