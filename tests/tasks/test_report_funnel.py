"""The funnel, its reasons and the balance of the classes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.params import Params
from tasks.report_funnel import bound_text, class_balance, funnel, rule_text
from tasks.report_samples import read_samples

Make = Callable[..., Params]


def test_the_funnel_counts_every_step_and_names_thresholds(make_params: Make) -> None:
    summary = {
        "samples": 90,
        "kept": 60,
        "rejected": 30,
        "reasons": {"min_area": 10, "max_area": 20},
        "train": 55,
        "val": 5,
    }
    steps, reasons = funnel(100, summary, make_params().filter_masks)
    assert [(step["count"], step["share"]) for step in steps] == [
        (100, 1.0),
        (90, 0.9),
        (60, 0.6),
        (55, 0.55),
    ]
    assert [(one["rule"], one["count"], one["bound"]) for one in reasons] == [
        ("max_area", 20, "0.8"),
        ("min_area", 10, "0.04"),
    ]


def test_rules_have_words() -> None:
    assert rule_text("min_peak") == "attention too weak"
    assert rule_text("max_odd_thing") == "max odd thing"


def test_bounds_are_numbers_mappings_or_nothing(make_params: Make) -> None:
    rules = {
        "min_area": 0.04,
        "max_components": 12,
        "min_peak": {"quantile": 0.05},
        "max_dark": None,
        "duplicates": "reject",
        "duplicate_distance": 3,
    }
    section = make_params({f"filter_masks.{key}": value for key, value in rules.items()})
    asked = [bound_text(section.filter_masks, rule) for rule in (*rules, "finite")]
    assert asked == ["0.04", "12", "quantile 0.05", "", "at most 3", "3", ""]


def test_a_sample_of_two_classes_counts_for_both(finished_run: Path) -> None:
    samples = read_samples(finished_run)
    names = ["car", "boat", "tree"]
    counted = class_balance(samples, names, dict.fromkeys(["background", *names], ""))
    assert [(one["name"], one["kept"], one["asked"]) for one in counted] == [
        ("car", 2, 2),
        ("boat", 1, 2),
        ("tree", 0, 0),
    ]
    assert [one["pixels"] for one in counted] == pytest.approx([5 / 9, 4 / 9, 0])
    assert [one["kept_share"] for one in counted] == [1, 0.5, 0]
