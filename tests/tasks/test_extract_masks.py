import numpy as np
import torch

from tasks.extract_masks import (
    class_stack,
    extract,
    label_and_margin,
    margin_rank,
    merge_phrases,
    normalise,
)
from tasks.params import ExtractMasks, GuidedFilter

PLAIN = ExtractMasks(beta=0.2, refine="none", guided=GuidedFilter(radius=2, epsilon=0.01))


def test_normalise_is_min_max_per_map() -> None:
    heat = torch.tensor([[[1.0, 3.0], [2.0, 5.0]], [[4.0, 4.0], [4.0, 4.0]]])
    expected = torch.tensor([[[0.0, 0.5], [0.25, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert torch.equal(normalise(heat), expected)


def test_background_is_one_minus_the_best_class_minus_beta() -> None:
    heat = torch.tensor([[[0.0, 1.0], [0.5, 0.25]], [[0.0, 0.5], [1.0, 0.0]]])
    stack = class_stack(heat, (2, 2), beta=0.2)
    torch.testing.assert_close(stack[0], torch.tensor([[0.8, -0.2], [-0.2, 0.55]]))
    label, margin = label_and_margin(stack)
    assert label.tolist() == [[0, 1], [2, 0]]
    torch.testing.assert_close(margin, torch.tensor([[0.8, 0.5], [0.5, 0.3]]))


def test_margin_rank_is_per_class_and_ties_share() -> None:
    label = np.array([[0, 0, 0], [1, 1, 2]])
    margin = np.array([[0.1, 0.9, 0.5], [0.3, 0.3, 0.7]])
    assert margin_rank(label, margin).tolist() == [[0, 255, 128], [128, 128, 128]]


def test_phrases_of_one_class_are_merged_by_maximum() -> None:
    heat = np.array([[[1.0, 0.0]], [[0.0, 2.0]], [[0.0, 3.0]]])
    merged, names = merge_phrases(heat, ["car", "dog", "car"])
    assert names == ["car", "dog"]
    assert merged.tolist() == [[[1.0, 3.0]], [[0.0, 2.0]]]


def test_extract_gives_label_values_and_scores() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    heat = np.zeros((1, 4, 4), np.float16)
    heat[0, :2] = 0.25
    label, rank, scores = extract(image, heat, ["dog"], {"car": 1, "dog": 7}, PLAIN)
    assert label.dtype == rank.dtype == np.uint8
    assert label.tolist() == [[7] * 4, [7] * 4, [0] * 4, [0] * 4]
    assert scores[0]["name"] == "dog"
    assert scores[0]["area"] == 0.5
    assert scores[0]["peak"] == 0.25
    np.testing.assert_allclose(scores[0]["margin"], 1.2, rtol=1e-6)


def test_a_map_of_an_absent_class_is_never_invented() -> None:
    heat = np.zeros((2, 4, 4), np.float16)
    heat[0, :, 2:] = 0.5
    label, _, scores = extract(
        np.zeros((4, 4, 3), np.uint8), heat, ["car", "dog"], {"car": 1, "dog": 2}, PLAIN
    )
    assert set(np.unique(label)) == {0, 1}
    assert [s["area"] for s in scores] == [0.5, 0.0]
    assert scores[1]["margin"] == 0.0


def test_refinement_moves_the_edge_to_the_image() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, 9:] = 255
    heat = np.zeros((1, 4, 4), np.float16)
    heat[0, :, 2:] = 1
    guided = ExtractMasks(beta=0.2, refine="guided", guided=GuidedFilter(radius=3, epsilon=1e-3))
    truth = np.zeros((16, 16), np.uint8)
    truth[:, 9:] = 1
    before = (extract(image, heat, ["x"], {"x": 1}, PLAIN)[0] == truth).mean()
    after = (extract(image, heat, ["x"], {"x": 1}, guided)[0] == truth).mean()
    assert before < after == 1.0
