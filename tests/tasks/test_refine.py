import sys

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tasks.params import InputError
from tasks.refine import box_mean, dense_crf, guided_filter

CRF = {
    "iterations": 5,
    "bilateral_weight": 10.0,
    "bilateral_xy": 10.0,
    "bilateral_rgb": 13.0,
    "gaussian_weight": 3.0,
    "gaussian_xy": 3.0,
}


def coefficients(
    guide: np.ndarray, scores: np.ndarray, radius: int, epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    """Equations 14 to 16 of He et al. 2013, pixel by pixel: the means of a and of b."""
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
    mean_slope, mean_offset = np.zeros((3, h, w)), np.zeros((h, w))
    for y in range(h):
        for x in range(w):
            rows, columns = window(y, x)
            mean_slope[:, y, x] = slope[:, rows, columns].reshape(3, -1).mean(1)
            mean_offset[y, x] = offset[rows, columns].mean()
    return mean_slope, mean_offset


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape))


def two_halves(side: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    """A picture red on the left and green on the right, scores that put the edge 3 pixels off."""
    truth = (torch.arange(side) >= side // 2).expand(side, side)
    guide = torch.zeros(1, 3, side, side)
    guide[0, 0], guide[0, 1] = 0.8 * ~truth, 0.8 * truth
    ramp = torch.sigmoid((torch.arange(side) - side / 2 - 2.5) / 3).expand(side, side)
    return guide, torch.stack([1 - ramp, ramp])[None], truth


def test_box_mean_shrinks_at_the_border() -> None:
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert box_mean(x, 1)[0, 0].tolist() == [[2.0, 2.5, 3.0], [3.5, 4.0, 4.5], [5.0, 5.5, 6.0]]


def test_box_mean_of_a_window_larger_than_the_image_is_the_mean() -> None:
    x = rand(2, 3, 4, 6)
    torch.testing.assert_close(box_mean(x, 9), x.mean((2, 3), keepdim=True).expand_as(x))


@pytest.mark.parametrize(("height", "width"), [(7, 9), (1, 8), (8, 1), (1, 1)])
def test_guided_filter_equals_the_paper_pixel_by_pixel(height: int, width: int) -> None:
    guide, scores = rand(3, height, width), rand(2, height, width, seed=1)
    got = guided_filter(guide[None], scores[None], 2, 0.05)[0].numpy()
    for filtered, one in zip(got, scores.numpy(), strict=True):
        slope, offset = coefficients(guide.numpy(), one, 2, 0.05)
        expected = (slope * guide.numpy()).sum(0) + offset
        np.testing.assert_allclose(filtered, expected, atol=1e-9)


def test_guided_filter_of_64_pixels_keeps_its_numbers() -> None:
    """From an independent solution of the 3x3 systems, `torch.linalg.solve` in float64."""
    rng = np.random.default_rng(0)
    guide, scores = (torch.from_numpy(rng.random((1, c, 64, 64))).float() for c in (3, 2))
    got = guided_filter(guide, scores, radius=6, epsilon=0.01)[0]
    at = [(0, 0, 0), (0, 31, 17), (0, 63, 40), (1, 0, 63), (1, 20, 50), (1, 63, 63)]
    expected = [0.487367, 0.552611, 0.527719, 0.490060, 0.465655, 0.431226]
    np.testing.assert_allclose([float(got[place]) for place in at], expected, atol=2e-6)


def test_the_fast_filter_enlarges_the_coefficients_of_the_small_image() -> None:
    """Algorithm 2 of He and Sun 2015, with means of 4x4 pixels and a quarter of the radius."""
    guide, scores = rand(1, 3, 24, 20), rand(1, 1, 24, 20, seed=1)
    small_guide, small_scores = (functional.avg_pool2d(x, 4)[0].numpy() for x in (guide, scores))
    slope, offset = coefficients(small_guide, small_scores[0], 2, 0.005)
    small = torch.from_numpy(np.concatenate([slope, offset[None]]))[None]
    a, b = functional.interpolate(small, size=(24, 20), mode="bilinear").split([3, 1], 1)
    expected = (a * guide).sum(1, keepdim=True) + b
    got = guided_filter(guide, scores, radius=8, epsilon=0.005, subsample=4)
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=0)


def test_sides_that_the_subsampling_does_not_divide_keep_their_size() -> None:
    filtered = guided_filter(rand(1, 3, 37, 1), rand(1, 2, 37, 1), 8, 0.01, subsample=8)
    assert filtered.shape == (1, 2, 37, 1)
    assert torch.isfinite(filtered).all()


@pytest.mark.parametrize("subsample", [1, 4])
def test_constant_scores_stay_constant(subsample: int) -> None:
    scores = torch.full((1, 2, 16, 16), 0.7)
    filtered = guided_filter(rand(1, 3, 16, 16).float(), scores, 4, 1e-4, subsample)
    torch.testing.assert_close(filtered, scores, atol=1e-5, rtol=0)


def test_a_constant_guide_gives_the_mean_of_means() -> None:
    scores = rand(1, 2, 9, 7)
    filtered = guided_filter(torch.full((1, 3, 9, 7), 0.3, dtype=torch.float64), scores, 2, 1e-4)
    torch.testing.assert_close(filtered, box_mean(box_mean(scores, 2), 2))


@pytest.mark.parametrize(("subsample", "iterations"), [(1, 1), (2, 3)])
def test_a_batch_equals_its_pictures_one_by_one(subsample: int, iterations: int) -> None:
    guide, scores = rand(3, 3, 16, 12), rand(3, 2, 16, 12, seed=1)
    together = guided_filter(guide, scores, 4, 0.01, subsample, iterations)
    for i in range(3):
        alone = guided_filter(guide[i : i + 1], scores[i : i + 1], 4, 0.01, subsample, iterations)
        torch.testing.assert_close(together[i : i + 1], alone)


def test_single_precision_holds_at_tiny_epsilon() -> None:
    """Nearly grey colours: without care their covariance is lost in rounding."""
    grey = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    guide = grey + 1e-3 * rand(1, 3, 32, 32).float()
    scores = (grey[:, :1] > 0.4).float()
    single = guided_filter(guide, scores, 6, 1e-10)
    double = guided_filter(guide.double(), scores.double(), 6, 1e-10)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, atol=1e-4, rtol=0)


def test_another_pass_filters_the_soft_labels() -> None:
    guide, scores = rand(1, 3, 12, 12), rand(1, 3, 12, 12, seed=1)
    once = guided_filter(guide, scores, 3, 0.01)
    soft = torch.softmax(5.0 * once, 1)
    torch.testing.assert_close(
        guided_filter(guide, scores, 3, 0.01, iterations=2, sharpness=5.0),
        guided_filter(guide, soft, 3, 0.01),
    )


@pytest.mark.parametrize(("subsample", "iterations"), [(1, 1), (1, 3), (2, 3)])
def test_the_edge_moves_to_the_picture_s(subsample: int, iterations: int) -> None:
    guide, scores, truth = two_halves()
    assert (scores[0].argmax(0) == truth).float().mean() < 0.92
    filtered = guided_filter(guide, scores, 8, 1e-4, subsample, iterations)
    assert torch.equal(filtered[0].argmax(0), truth.long())


def test_a_missing_crf_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    images = np.zeros((1, 4, 4, 3), np.uint8)
    with pytest.raises(InputError, match=r"pydensecrf2, which is not installed: run `make crf`"):
        dense_crf(images, torch.ones(1, 2, 4, 4), **CRF)


def crf_or_skip() -> None:
    pytest.importorskip("pydensecrf.densecrf", reason="the dense CRF is an extra: `make crf`")


def test_the_crf_moves_the_edge_to_the_picture_s() -> None:
    crf_or_skip()
    guide, scores, truth = two_halves()
    images = (guide * 255).byte().permute(0, 2, 3, 1).numpy()
    posterior = dense_crf(images, scores, **CRF)
    assert posterior.dtype == torch.float32
    torch.testing.assert_close(posterior.sum(1), torch.ones(1, 32, 32))
    assert torch.equal(posterior[0].argmax(0), truth.long())


def test_the_crf_without_pairwise_terms_gives_the_scores_scaled_to_sum_1() -> None:
    crf_or_skip()
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 9, 3)).astype(np.uint8)
    scores = 3 * rand(2, 3, 6, 9)
    scores[0, 0] = -0.2  # excluded
    weights = CRF | {"bilateral_weight": 0.0, "gaussian_weight": 0.0}
    posterior = dense_crf(images, scores, **weights)
    clamped = scores.clamp(min=1e-5)
    expected = (clamped / clamped.sum(1, keepdim=True)).float()
    torch.testing.assert_close(posterior, expected, atol=1e-5, rtol=0)


def test_the_crf_of_a_batch_equals_its_pictures_one_by_one() -> None:
    crf_or_skip()
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 10, 3)).astype(np.uint8)
    scores = rand(2, 2, 8, 10)
    together = dense_crf(images, scores, **CRF)
    assert not torch.equal(together[0], together[1])
    for i in range(2):
        assert torch.equal(together[i], dense_crf(images[i : i + 1], scores[i : i + 1], **CRF)[0])
