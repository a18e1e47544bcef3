from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.recipes import METHODS, REFINEMENTS, grid, quality, recipe
from tasks.params import load_params

ROOT = Path(__file__).parents[2]
BASE = load_params(ROOT / "presets/storybook.yaml").extract_masks


def test_a_grid_has_every_combination() -> None:
    assert list(grid({"a": [1, 2], "b": ["x"]})) == [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}]
    assert list(grid({})) == [{}]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("refine", REFINEMENTS)
def test_every_recipe_of_the_grids_is_valid(method: str, refine: str) -> None:
    for of_method in grid(METHODS[method]):
        for of_refinement in grid(REFINEMENTS[refine]):
            section = recipe(BASE, method, refine, of_method, of_refinement)
            assert (section.method, section.refine) == (method, refine)
            for key, value in of_method.items():
                found = getattr(getattr(section, method), key)
                assert (list(found) if isinstance(found, tuple) else found) == value
            if method == "self_attention":
                chosen = section.self_attention
                assert chosen.foreground - chosen.ignore == pytest.approx(0.1)


def test_a_pixel_without_a_label_is_wrong() -> None:
    seen = torch.arange(9).repeat(4).reshape(1, 6, 6)
    labels = seen.numpy().astype(np.uint8)
    assert quality(labels, seen) == (1.0, 0.0)
    labels[0, 0, 0] = 255  # one of class 0's four: 3 of 4, and 4 of 5 for the class it lands in
    miou, ignored = quality(labels, seen)
    assert ignored == pytest.approx(1 / 36)
    assert miou == pytest.approx((7 + 3 / 4 + 4 / 5) / 9)
