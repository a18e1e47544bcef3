"""IoU against numbers counted by hand, and against MMSegmentation's own metric."""

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from tasks.iou import confusion_matrix, iou_per_class, mean_iou

TRUTH = np.array([[0, 0, 1, 1], [0, 2, 2, 255]], np.uint8)
PREDICTION = np.array([[0, 1, 1, 1], [0, 2, 0, 2]], np.uint8)


def test_pixels_are_counted_by_true_and_predicted_class() -> None:
    expected = [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert confusion_matrix(TRUTH, PREDICTION, 4).tolist() == expected


def test_in_16_bits_255_is_a_class_and_65535_is_left_out() -> None:
    truth = np.array([[0, 255, 255, 65535]], np.uint16)
    prediction = np.array([[0, 255, 1, 1]], np.uint16)
    confusion = confusion_matrix(truth, prediction, 300)
    assert confusion.sum() == 3
    assert (confusion[0, 0], confusion[255, 255], confusion[255, 1]) == (1, 1, 1)


def test_iou_is_the_overlap_over_the_union_and_none_where_a_class_is_nowhere() -> None:
    ious = iou_per_class(confusion_matrix(TRUTH, PREDICTION, 4))
    assert ious == [pytest.approx(2 / 4), pytest.approx(2 / 3), pytest.approx(1 / 2), None]
    assert mean_iou(ious) == pytest.approx((2 / 4 + 2 / 3 + 1 / 2) / 3)


def test_a_class_that_is_only_predicted_counts_as_zero() -> None:
    confusion = confusion_matrix(np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8), 2)
    assert iou_per_class(confusion) == [0, 0]


def test_the_numbers_are_those_of_mmsegmentation() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, (3, 16, 16)).astype(np.uint8)
    prediction = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, 5, truth.shape))
    truth[:, :3] = 255
    confusion = sum(
        confusion_matrix(t, p.astype(np.uint8), 5) for t, p in zip(truth, prediction, strict=True)
    )
    areas = [
        IoUMetric.intersect_and_union(torch.tensor(p), torch.tensor(t), 5, 255)
        for t, p in zip(truth, prediction, strict=True)
    ]
    theirs = sum(a[0] for a in areas) / sum(a[1] for a in areas)
    np.testing.assert_allclose(iou_per_class(confusion), theirs.numpy(), rtol=1e-6)


def test_what_is_no_class_or_no_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="label value 2 is no class: there are 2"):
        confusion_matrix(TRUTH, PREDICTION, 2)
    with pytest.raises(ValueError, match="truth is"):
        confusion_matrix(TRUTH, PREDICTION[:1], 4)
