import numpy as np
import torch

from tasks.refine import box_mean, guided_filter


def reference(guide: np.ndarray, scores: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Equations 14 to 16 of He et al. 2013, pixel by pixel."""
    _, h, w = guide.shape
    slope, offset = np.zeros((3, h, w)), np.zeros((h, w))

    def window(y: int, x: int) -> tuple[slice, slice]:
        return (
            slice(max(0, y - radius), y + radius + 1),
            slice(max(0, x - radius), x + radius + 1),
        )

    for y in range(h):
        for x in range(w):
            rows, columns = window(y, x)
            colours = guide[:, rows, columns].reshape(3, -1)
            values = scores[rows, columns].ravel()
            mean = colours.mean(1)
            covariance = colours @ colours.T / values.size - np.outer(mean, mean)
            cross = colours @ values / values.size - mean * values.mean()
            slope[:, y, x] = np.linalg.solve(covariance + epsilon * np.eye(3), cross)
            offset[y, x] = values.mean() - slope[:, y, x] @ mean
    result = np.zeros((h, w))
    for y in range(h):
        for x in range(w):
            rows, columns = window(y, x)
            a = slope[:, rows, columns].reshape(3, -1).mean(1)
            result[y, x] = a @ guide[:, y, x] + offset[rows, columns].mean()
    return result


def test_box_mean_shrinks_at_the_border() -> None:
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert box_mean(x, 1)[0, 0].tolist() == [[2.0, 2.5, 3.0], [3.5, 4.0, 4.5], [5.0, 5.5, 6.0]]


def test_guided_filter_equals_the_paper_pixel_by_pixel() -> None:
    rng = np.random.default_rng(0)
    guide, scores = rng.random((3, 7, 9)), rng.random((2, 7, 9))
    expected = np.stack([reference(guide, one, 2, 0.05) for one in scores])
    got = guided_filter(torch.from_numpy(guide)[None], torch.from_numpy(scores)[None], 2, 0.05)
    np.testing.assert_allclose(got[0].numpy(), expected, atol=1e-9)


def test_constant_scores_stay_constant() -> None:
    guide = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    filtered = guided_filter(guide, torch.full((1, 1, 8, 8), 0.7), 2, 0.01)
    torch.testing.assert_close(filtered, torch.full((1, 1, 8, 8), 0.7), atol=1e-5, rtol=0)
