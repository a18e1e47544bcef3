"""The speed of trainings and of what they validate with."""

from pathlib import Path

import pytest

from tasks.params import Params, load_params
from tasks.training_speed import (
    labelling_seconds,
    training_memory,
    training_seconds,
    whole_training,
)

ROOT = Path(__file__).parents[2]
VOC = load_params(ROOT / "presets/voc12.yaml")
A100 = "NVIDIA A100-SXM4-80GB"


def with_training(**changes: object) -> Params:
    section = VOC.train_segmenter.model_copy(update=changes)
    return VOC.model_copy(update={"train_segmenter": section})


def test_what_nobody_has_measured_is_not_known() -> None:
    assert training_seconds(VOC.train_segmenter, "cpu") is None
    assert training_seconds(VOC.train_segmenter, "Tesla T4") is None  # slower than the V100
    assert labelling_seconds(VOC, "Tesla T4") is None
    assert whole_training(VOC, "Tesla T4", 100, alone=False) is None


def test_a_training_takes_what_was_published_for_a_slower_gpu() -> None:
    section = VOC.train_segmenter.model_copy(update={"reliability": "weighted"})
    told = training_seconds(section, A100)
    assert told and told.value == pytest.approx(16 * 0.85 / 4)  # 4 crops of 512x512 in 0.85 s
    both = training_seconds(VOC.train_segmenter, A100)
    assert both and 1.5 < both.value / told.value < 2.1
    alone = training_seconds(VOC.train_segmenter, A100, alone=True)
    assert alone and alone.value == told.value


def test_memory_of_a_training_is_known_up_to_150_labels() -> None:
    section = VOC.train_segmenter.model_copy(update={"reliability": "weighted"})
    few, more = training_memory(section, 21), training_memory(section, 51)
    assert few and few.value == pytest.approx(4 * 7.6e9)
    assert more and more.value == pytest.approx(4 * 10.6e9)
    assert training_memory(section, 920) is None
    both = training_memory(VOC.train_segmenter, 21)
    assert both and both.value == 2 * few.value


def test_a_validation_labels_what_is_held_out_with_every_network() -> None:
    """Whenever a checkpoint is due and at the end."""
    params = with_training(reliability="weighted", iterations=9, checkpoint_interval=4)
    step = training_seconds(params.train_segmenter, A100)
    without, told = (whole_training(params, A100, held_out, alone=False) for held_out in (0, 100))
    assert step and without and told
    assert without.value == pytest.approx(9 * step.value) and without.basis == step.basis
    assert told.value == pytest.approx(without.value + 3 * 100 / 21.0)
    one, two = (labelling_seconds(each, A100) for each in (params, VOC))
    assert one and two and two.value == 2 * one.value
    assert "validation: published" in told.basis


def test_a_validation_of_hundreds_of_classes_is_not_in_the_hours() -> None:
    classes = [
        VOC.expand_prompts.classes[0].model_copy(update={"name": f"c{number}"})
        for number in range(300)
    ]
    many = VOC.expand_prompts.model_copy(update={"classes": classes})
    params = VOC.model_copy(update={"expand_prompts": many})
    told, without = (whole_training(params, A100, held_out, alone=False) for held_out in (100, 0))
    assert told and without and told.value == without.value
    assert told.basis == f"{without.basis}; without validation"
