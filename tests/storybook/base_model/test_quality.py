import json
from collections import Counter
from pathlib import Path

import torch

from storybook.base_model.critic import mean_iou
from storybook.base_model.publish import obstacles
from storybook.base_model.quality import normalised, overlap, prompts
from storybook.vocabulary import PAGE_CLASSES, page_class_of


def test_prompts_are_spread_over_classes_and_hyponyms() -> None:
    pairs = prompts(200)
    assert set(Counter(page_class_of(word) for _, word in pairs).values()) == {25}
    words = {word for _, word in pairs}
    assert {h for thing in PAGE_CLASSES for h in thing.hyponyms} <= words
    assert all(word in text for text, word in pairs)


def test_normalised_spans_zero_to_one() -> None:
    maps = torch.tensor([[[0.1, 0.3], [0.2, 0.5]]])
    scaled = normalised(maps, side=2)
    torch.testing.assert_close(scaled, torch.tensor([[[0.0, 0.5], [0.25, 1.0]]]))


def test_overlap_of_half_and_of_nothing() -> None:
    a = torch.tensor([[[True, True]], [[False, False]]])
    b = torch.tensor([[[True, False]], [[False, False]]])
    assert overlap(a, b).tolist() == [0.5, 0.0]


def test_mean_iou_by_hand() -> None:
    truth = torch.arange(9).repeat(2)
    predicted = truth.clone()
    predicted[0] = 1  # class 0: 1 of 2 hit, IoU 1/2; class 1: 2 hit, 1 false, IoU 2/3
    assert abs(mean_iou(predicted, truth, 9) - (7 + 1 / 2 + 2 / 3) / 9) < 1e-9


def test_only_a_measured_good_small_model_is_published(tmp_path: Path) -> None:
    assert "quality.json is missing" in obstacles(tmp_path)[0]
    bar = {"name": "map_iou", "value": 0.4, "bound": 0.5, "holds": False}
    (tmp_path / "quality.json").write_text(json.dumps({"bars": [bar]}))
    assert obstacles(tmp_path) == ["map_iou is 0.400, below 0.5"]
    (tmp_path / "quality.json").write_text(json.dumps({"bars": [bar | {"holds": True}]}))
    assert obstacles(tmp_path) == []
    (tmp_path / "big").write_bytes(bytes(17_000_000))
    assert "holds 17.0 MB" in obstacles(tmp_path)[0]


def test_the_committed_model_holds_its_bars() -> None:
    folder = Path(__file__).parents[3] / "models/storybook-sd"
    assert obstacles(folder) == []
