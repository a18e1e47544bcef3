import numpy as np

from tasks.training_summary import mean_curve


def test_a_curve_is_thinned_to_means() -> None:
    assert mean_curve([1, 2, 3, 4, 5, 6], points=3) == [[2, 1.5], [4, 3.5], [6, 5.5]]
    assert mean_curve(np.array([3.0, 1.0]), points=50) == [[1, 3.0], [2, 1.0]]
