"""The variance of a label over response scalings, by hand."""

import pytest
import torch

from tasks.uncertainty import label_variance

SCALINGS = (0.5, 1.0, 2.0, 4.0)


def test_a_label_varies_where_scaling_moves_the_border() -> None:
    """Foreground 0.9, 0.4, 0.2 and 0.1 beside a background of 0.5."""
    stack = torch.tensor([[[[0.5, 0.5, 0.5, 0.5]], [[1.1, 0.4, 0.2, 0.1]]]])
    foreground = torch.tensor([4, 2, 1, 0]) / 4  # of the four scalings, how many
    expected = (1 - foreground**2 - (1 - foreground) ** 2) / (1 - 1 / 4)
    torch.testing.assert_close(label_variance(stack, SCALINGS)[0, 0], expected)


def test_classes_do_not_change_their_order_among_themselves() -> None:
    stack = torch.tensor([[[[0.0]], [[0.3]], [[0.4]]]])
    assert label_variance(stack, SCALINGS).item() == 0


def test_two_scalings_that_disagree_are_as_uncertain_as_can_be() -> None:
    stack = torch.tensor([[[[0.5]], [[0.4]]]])
    assert label_variance(stack, (1.0, 2.0)).item() == pytest.approx(1)
