"""The variance of a label over response scalings, and the entropy of scores, by hand."""

import math

import pytest
import torch

from tasks.uncertainty import label_variance, normalised_entropy

SCALINGS = (0.5, 1.0, 2.0, 4.0)


def test_a_label_varies_where_scaling_moves_the_border() -> None:
    """Foreground 0.9, 0.4, 0.2 and 0.1 beside a background of 0.5."""
    stack = torch.tensor([[[[0.5, 0.5, 0.5, 0.5]], [[1.1, 0.4, 0.2, 0.1]]]])
    foreground = torch.tensor([4, 2, 1, 0]) / 4  # of the four scalings, how many
    expected = (1 - foreground**2 - (1 - foreground) ** 2) / (1 - 2 * 0.5**2)
    torch.testing.assert_close(label_variance(stack, SCALINGS)[0, 0], expected)


def test_classes_do_not_change_their_order_among_themselves() -> None:
    stack = torch.tensor([[[[0.0]], [[0.3]], [[0.4]]]])
    assert label_variance(stack, SCALINGS).item() == 0


@pytest.mark.parametrize("scalings", [(1.0, 2.0), SCALINGS, (0.25, 0.5, 1.0, 2.0, 4.0)])
def test_one_is_the_most_uncertain_a_pixel_can_be(scalings: tuple[float, ...]) -> None:
    """Foreground scores for which no scaling, one, and so on up to all of them win."""
    foreground = torch.tensor([0.5 / factor * 1.01 for factor in scalings] + [0.01])
    background = torch.full_like(foreground, 0.5)
    stack = torch.stack([background, foreground, 0.9 * foreground])[None, :, None]
    variance = label_variance(stack, scalings)[0, 0]
    assert variance.max().item() == pytest.approx(1)
    assert variance[[0, -1]].tolist() == pytest.approx([0, 0], abs=1e-6)


def test_entropy_is_one_for_equal_scores_and_zero_for_a_single_one() -> None:
    """Scores by pixel: alike, one alone, one of which is negative, and none at all."""
    pixels = torch.tensor([[0.3, 0.3, 0.3], [0.7, 0.0, 0.0], [0.5, 0.5, -0.2], [0.0, 0.0, 0.0]])
    found = normalised_entropy(pixels.T.reshape(1, 3, 1, 4))
    expected = torch.tensor([1.0, 0.0, math.log(2) / math.log(3), 0.0])
    torch.testing.assert_close(found[0, 0], expected)
