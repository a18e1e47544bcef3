"""Things are counted by group, and their IoU is over all pixels of the pages."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.gap import by_kind, by_number, thing_ious
from storybook import page


def test_iou_of_a_group_is_over_all_its_things_pixels() -> None:
    scene = page.sample_scene(np.random.default_rng(0), "duck")
    scene = replace(scene, things=scene.things[:1])
    truth = np.zeros((4, 4), np.uint8)
    truth[:2] = 5  # 8 pixels of a bird
    half, beside = truth.copy(), truth.copy()
    half[0] = 7  # a dog's
    beside[2] = 5
    found = thing_ious([scene, scene], [truth, truth], [half, beside], by_kind)
    assert found == {"duck (bird)": (2, pytest.approx((4 + 8) / (8 + 12)))}


def test_pages_with_more_things_are_a_group() -> None:
    scenes = [page.sample_scene(np.random.default_rng(seed)) for seed in range(12)]
    truths = [page.render(scene)[1] for scene in scenes]
    found = thing_ious(scenes, truths, truths, by_number)
    assert {name: iou for name, (_, iou) in found.items()} == dict.fromkeys(found, 1.0)
    for count in {len(scene.things) for scene in scenes}:
        here = sum(len(scene.things) == count for scene in scenes)
        assert found[f"of {count} on a page"][0] == count * here
