import numpy as np
import pytest
import torch

from tasks.mask_methods import (
    combine,
    diffumask,
    enlarge,
    normalise,
    spread_by_self_attention,
    with_background,
)
from tasks.params import DenseCrf, DiffuMask

CRF = DenseCrf(
    iterations=5,
    bilateral_weight=10.0,
    bilateral_xy=10.0,
    bilateral_rgb=13.0,
    gaussian_weight=3.0,
    gaussian_xy=3.0,
)


def test_normalise_is_min_max_per_map() -> None:
    maps = torch.tensor([[[[1.0, 3.0], [2.0, 5.0]], [[4.0, 4.0], [4.0, 4.0]]]])
    expected = torch.tensor([[[[0.0, 0.5], [0.25, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    assert torch.equal(normalise(maps), expected)


def test_combine_is_the_mean_at_the_largest_size() -> None:
    large, small = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 2, 2)
    assert torch.equal(combine([large, small]), torch.full((1, 1, 4, 4), 0.5))
    assert combine([large]) is not large and torch.equal(combine([large]), large)


def test_background_is_one_minus_the_best_class_minus_beta() -> None:
    """Two classes in one image: A_0 = 1 - max(A_1, A_2) - beta."""
    maps = torch.tensor([[[[0.0, 1.0], [0.5, 0.25]], [[0.0, 0.5], [1.0, 0.0]]]])
    stack = with_background([maps], (2, 2), beta=0.2)
    torch.testing.assert_close(stack[0, 0], torch.tensor([[0.8, -0.2], [-0.2, 0.55]]))
    assert torch.equal(stack[0, 1:], maps[0])


def test_the_scale_of_a_map_does_not_matter() -> None:
    maps = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        with_background([maps], (8, 8), 0.3), with_background([0.01 * maps], (8, 8), 0.3)
    )


def test_self_attention_spreads_a_map_over_what_belongs_together() -> None:
    """Positions 0, 1 attend to each other only, and so do 2, 3: a hit on one becomes both."""
    attention = torch.tensor(
        [[[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]]]
    )
    maps = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    stack = spread_by_self_attention([maps], attention, (2, 2), (2, 2), 1, 0.6)
    assert torch.equal(stack[0, 0], torch.full((2, 2), 0.6))
    assert stack[0, 1:].tolist() == [[[1, 1], [0, 0]], [[0, 0], [1, 1]]]


@pytest.mark.parametrize("power", [0, 1, 4])
def test_the_power_is_the_matrix_power(power: int) -> None:
    generator = torch.Generator().manual_seed(1)
    attention = (9 * torch.rand(2, 12, 12, generator=generator)).softmax(-1)
    maps = torch.rand(2, 3, 3, 4, generator=generator)
    stack = spread_by_self_attention([maps], attention, (3, 4), (3, 4), power, 0.5)
    spread = torch.linalg.matrix_power(attention, power) @ maps.flatten(2).transpose(1, 2)
    expected = normalise(spread.transpose(1, 2).reshape(2, 3, 3, 4))
    torch.testing.assert_close(stack[:, 1:], expected, atol=1e-4, rtol=1e-4)


def test_the_cross_attention_is_brought_to_the_self_attentions_size() -> None:
    maps = torch.rand(1, 1, 2, 2, generator=torch.Generator().manual_seed(2))
    stack = spread_by_self_attention([maps], torch.eye(16)[None], (4, 4), (4, 4), 4, 0.5)
    torch.testing.assert_close(stack[:, 1:], normalise(enlarge(maps, (4, 4))))


def discs(size: int = 48) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """A red disc and a blue one on grey: image, blurred maps ``(1, 2, 12, 12)``, true labels."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    truth = torch.zeros(size, size, dtype=torch.long)
    truth[(x - 12) ** 2 + (y - 24) ** 2 < 81] = 1
    truth[(x - 36) ** 2 + (y - 24) ** 2 < 64] = 2
    colours = torch.tensor([[128, 128, 128], [220, 30, 30], [30, 30, 220]], dtype=torch.uint8)
    maps = torch.nn.functional.one_hot(truth, 3).permute(2, 0, 1)[1:].float()
    small = torch.nn.functional.avg_pool2d(maps, 12, 4, 4)[:, :12, :12]
    return colours[truth].numpy(), 0.1 * small[None], truth


def test_diffumask_finds_both_things_of_an_image() -> None:
    pytest.importorskip("pydensecrf", reason="the dense CRF is not installed: make crf")
    image, maps, truth = discs()
    section = DiffuMask(resolutions=None, lowest=0.35, highest=0.54, min_box=0.0)
    stack = diffumask([maps], image[None], (48, 48), section, CRF)
    assert stack.shape == (1, 3, 48, 48)
    label = stack.argmax(1)[0]
    for value in (1, 2):
        both = ((label == value) & (truth == value)).sum() / (
            (label == value) | (truth == value)
        ).sum()
        assert both > 0.6


def test_diffumask_takes_the_threshold_that_agrees_most_with_the_reference() -> None:
    """By the definition, tried one by one."""
    pytest.importorskip("pydensecrf", reason="the dense CRF is not installed: make crf")
    from tasks.refine import dense_crf

    image, maps, _ = discs()
    one = maps[:, :1]
    section = DiffuMask(resolutions=None, lowest=0.35, highest=0.54, min_box=0.0)
    stack = diffumask([one], image[None], (48, 48), section, CRF)
    scores = enlarge(one / one.max(), (48, 48))[:, 0]

    def mask(rest: torch.Tensor) -> torch.Tensor:
        refined = dense_crf(image[None], torch.stack([rest, scores], 1), **CRF.model_dump())
        return refined[:, 1] > refined[:, 0]

    reference = mask(1 - scores)
    overlap = {}
    for hundredth in range(35, 55):
        tried = mask(torch.full_like(scores, hundredth / 100))
        overlap[hundredth] = float((tried & reference).sum() / (tried.sum() + reference.sum()))
    best = max(overlap, key=lambda hundredth: overlap[hundredth])
    expected = (scores + 0.5 - best / 100).clamp_min(0)
    torch.testing.assert_close(stack[:, 1], expected, atol=1e-5, rtol=0)


def test_diffumask_invents_nothing_from_an_empty_map() -> None:
    pytest.importorskip("pydensecrf", reason="the dense CRF is not installed: make crf")
    image, maps, _ = discs()
    section = DiffuMask(resolutions=None, lowest=0.35, highest=0.54, min_box=0.0)
    stack = diffumask([torch.zeros_like(maps)], image[None], (48, 48), section, CRF)
    assert (stack.argmax(1) == 0).all()
