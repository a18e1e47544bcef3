"""Intersection over union from a confusion matrix, the field's measure of label maps."""

import numpy as np

from tasks.label_maps import ignore_value


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, class_count: int) -> np.ndarray:
    """How many pixels of each class were labelled as which.

    Args:
        truth, prediction: ``uint8`` or ``uint16``, of one shape; pixels whose truth is 255 or, in
            16 bits, 65535 are left out.
        class_count: classes, the background counted where there is one.

    Returns:
        ``int64 (class_count, class_count)``: rows by true class, columns by predicted class.

    Raises:
        ValueError: the shapes differ, or a value is no class.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth is {truth.shape} and prediction {prediction.shape}")
    counted = truth != ignore_value(truth.dtype)
    rows, columns = truth[counted].astype(np.int64), prediction[counted].astype(np.int64)
    highest = max(rows.max(initial=0), columns.max(initial=0))
    if highest >= class_count:
        raise ValueError(f"label value {highest} is no class: there are {class_count}")
    counts = np.bincount(rows * class_count + columns, minlength=class_count**2)
    return counts.reshape(class_count, class_count)


def iou_per_class(confusion: np.ndarray) -> list[float | None]:
    """``TP / (TP + FP + FN)`` of each class, 0..1; None for a class that neither map has."""
    right = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - right
    return [float(r / u) if u else None for r, u in zip(right, union, strict=True)]


def mean_iou(ious: list[float | None]) -> float:
    """The mean over the classes that are there; the background counts as one."""
    return float(np.mean([iou for iou in ious if iou is not None]))
