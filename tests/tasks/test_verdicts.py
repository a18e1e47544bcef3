"""Rules, one by one and together: which one rejects, with which number."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.params import FilterMasks, Params
from tasks.records import SCORES
from tasks.verdicts import CLASS_RULES, IMAGE_RULES, RULES, WHOLE_RULES, Verdicts, judge

Make = Callable[..., Params]
Row = dict[str, Any]

OFF = dict.fromkeys((*IMAGE_RULES, *CLASS_RULES, *WHOLE_RULES)) | {
    "duplicates": "keep",
    "max_per_class": None,
    "absent": "reject",
}


@pytest.fixture
def section(make_params: Make) -> Callable[..., FilterMasks]:
    """All rules off, but for those given."""

    def make(**rules: Any) -> FilterMasks:
        return make_params(
            {f"filter_masks.{key}": value for key, value in (OFF | rules).items()}
        ).filter_masks

    return make


FOUR = {"min_area": 0.1, "max_area": 0.8, "min_peak": 0.2, "min_margin": 0.3}


def scored(name: str = "car", **changes: Any) -> Row:
    good = {"area": 0.5, "peak": 0.5, "margin": 0.5, "entropy": 0.2, "agreement": 0.8}
    shape = {"components": 1, "largest": 1.0, "border": 0.0}
    return {"name": name} | good | shape | changes


def table(*samples: list[Row] | Row) -> pa.Table:
    """A row for each sample: its classes, or a row with classes and more."""
    rows = []
    for number, given in enumerate(samples):
        row = given if isinstance(given, dict) else {"classes": given}
        rows.append(
            {"sample_id": f"s{number}", "finite": True, "dark": 0.0, "contrast": 50.0}
            | {"duplicate_of": "", "classes": [scored()]}
            | row
        )
    return pa.Table.from_pylist(rows, schema=SCORES)


def told(verdicts: Verdicts) -> list[str]:
    return [verdicts.reason(row) for row in range(len(verdicts.rule))]


def rules(verdicts: Verdicts) -> list[str]:
    return [RULES[rule] if rule >= 0 else "" for rule in verdicts.rule]


@pytest.mark.parametrize(
    ("changes", "rule", "reason"),
    [
        ({}, "", ""),
        ({"area": 0.1, "peak": 0.2, "margin": 0.3}, "", ""),
        ({"area": 0.05}, "min_area", "car: area 0.050 below min_area 0.1"),
        ({"area": 0.9}, "max_area", "car: area 0.900 above max_area 0.8"),
        ({"peak": 0.1}, "min_peak", "car: peak 0.100 below min_peak 0.2"),
        ({"margin": 0.25}, "min_margin", "car: margin 0.250 below min_margin 0.3"),
        ({"area": 0.9, "margin": 0.25}, "max_area", "car: area 0.900 above max_area 0.8"),
        ({"entropy": 0.6}, "max_entropy", "car: entropy 0.600 above max_entropy 0.5"),
        ({"agreement": 0.2}, "min_agreement", "car: agreement 0.200 below min_agreement 0.3"),
        ({"components": 7}, "max_components", "car: components 7 above max_components 5"),
        ({"largest": 0.4}, "min_largest", "car: largest 0.400 below min_largest 0.6"),
        ({"border": 0.7}, "max_border", "car: border 0.700 above max_border 0.5"),
    ],
)
def test_verdict_names_the_rule_and_the_number(
    section: Callable[..., FilterMasks], changes: dict, rule: str, reason: str
) -> None:
    asked = FOUR | {"max_entropy": 0.5, "min_agreement": 0.3, "max_components": 5}
    asked |= {"min_largest": 0.6, "max_border": 0.5}
    made = section(**asked)
    verdicts = judge(table([scored(**changes)]), made)
    assert (rules(verdicts), told(verdicts)) == ([rule], [reason])
    if rule:
        (score,) = changes if len(changes) == 1 else ["area"]
        assert verdicts.value[0] == pytest.approx(changes[score])
        assert verdicts.bound[0] == getattr(made, rule)


DAMAGED = "the image cannot be read, or its attention is not finite"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"dark": 0.99}, "dark 0.990 above max_dark 0.98"),
        ({"contrast": 1.0}, "contrast 1.000 below min_contrast 2"),
        ({"finite": False}, "the image cannot be read, or its attention is not finite"),
        (
            {"finite": False, "dark": 1.0},
            "the image cannot be read, or its attention is not finite",
        ),
    ],
)
def test_rules_of_the_image_come_before_those_of_its_classes(
    section: Callable[..., FilterMasks], row: Row, reason: str
) -> None:
    made = section(max_dark=0.98, min_contrast=2.0, min_area=0.1)
    assert told(judge(table(row | {"classes": [scored(area=0.0)]}), made)) == [reason]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"similarity": 0.1}, "similarity 0.100 below min_similarity 0.2"),
        ({"similarity": 0.2, "quality": 0.25}, "quality 0.250 below min_quality 0.3"),
        ({"similarity": None, "quality": None}, ""),
        ({"quality": 0.0, "classes": [scored(area=0.0)]}, "car: area 0.000 below min_area 0.1"),
    ],
)
def test_rules_of_the_whole_come_after_those_of_the_classes(
    section: Callable[..., FilterMasks], row: Row, reason: str
) -> None:
    made = section(min_area=0.1).model_copy(update={"min_similarity": 0.2, "min_quality": 0.3})
    assert told(judge(table(row), made)) == [reason]


def test_a_rule_that_is_off_rejects_nothing(section: Callable[..., FilterMasks]) -> None:
    worst = scored(area=0.0, peak=0.0, margin=0.0, entropy=1.0, agreement=0.0, components=99)
    assert judge(table({"dark": 1.0, "contrast": 0.0, "classes": [worst]}), section()).kept.all()


def test_every_prompted_class_must_pass_and_the_first_is_named(
    section: Callable[..., FilterMasks],
) -> None:
    """In the order of the prompt, whatever the order of the rules."""
    verdicts = judge(
        table(
            [scored(), scored("dog", area=0.0)],
            [scored(margin=0.0), scored("dog", area=0.0)],
            [scored()],
        ),
        section(**FOUR),
    )
    assert told(verdicts) == [
        "dog: area 0.000 below min_area 0.1",
        "car: margin 0.000 below min_margin 0.3",
        "",
    ]


def test_an_absent_class_may_be_allowed_but_not_all_of_them(
    section: Callable[..., FilterMasks],
) -> None:
    absent = scored("dog", area=0.09, peak=0.0, margin=0.0)
    verdicts = judge(
        table(
            [absent, scored()],
            [absent, scored(margin=0.25)],
            [scored(area=0.1), scored("dog", area=0.9)],
            [absent, scored(area=0.0)],
        ),
        section(**FOUR, absent="allow"),
    )
    assert told(verdicts) == [
        "",
        "car: margin 0.250 below min_margin 0.3",
        "dog: area 0.900 above max_area 0.8",
        "dog: area 0.090 below min_area 0.1",
    ]


def test_a_quantile_is_of_the_class(section: Callable[..., FilterMasks]) -> None:
    """Dogs have smaller areas than any car, and as many of them are rejected."""
    cars = [[scored("car", area=0.5 + number / 100)] for number in range(21)]
    dogs = [[scored("dog", area=0.1 + number / 100)] for number in range(21)]
    verdicts = judge(table(*cars, *dogs), section(min_area={"quantile": 0.1}))
    rejected = np.flatnonzero(~verdicts.kept)
    assert rejected.tolist() == [0, 1, 21, 22]
    assert verdicts.bound[rejected] == pytest.approx([0.52, 0.52, 0.12, 0.12])
    assert told(verdicts)[22] == "dog: area 0.110 below min_area 0.12"
    upper = judge(table(*cars, *dogs), section(max_area={"quantile": 0.9}))
    assert np.flatnonzero(~upper.kept).tolist() == [19, 20, 40, 41]


def test_a_quantile_leaves_out_what_is_no_number(section: Callable[..., FilterMasks]) -> None:
    damaged = {"finite": False, "classes": [scored(peak=float("nan"), area=0.0)]}
    sound = [[scored(area=number / 10)] for number in range(1, 6)]
    verdicts = judge(table(damaged, *sound), section(min_area={"quantile": 0.5}))
    assert verdicts.bound[1] == pytest.approx(0.3)
    assert rules(verdicts) == ["finite", "min_area", "min_area", "", "", ""]


def test_a_score_that_equals_its_bound_passes(section: Callable[..., FilterMasks]) -> None:
    """float32(0.2) is above 0.2, and float32(0.7) below 0.7."""
    given = table([scored(border=0.2, largest=0.7)])
    assert told(judge(given, section(max_border=0.2, min_largest=0.7))) == [""]
    assert rules(judge(given, section(max_border=0.19999999))) == ["max_border"]
    assert rules(judge(given, section(min_largest=0.7000001))) == ["min_largest"]


def test_near_duplicates_of_kept_samples_go(section: Callable[..., FilterMasks]) -> None:
    rows = table(
        {"hash": 0b00000},
        {"hash": 0b00011},
        {"hash": 0b00111},  # of a duplicate
        {"hash": 0b11100},  # too far
        {"hash": 0b00000, "classes": [scored("dog")]},  # of another class
        {"hash": 0b1111 << 40, "classes": [scored(area=0.0)]},
        {"hash": 0b1111 << 40},  # of a rejected one, whose place it takes
    )
    verdicts = judge(rows, section(min_area=0.1, duplicates="reject", duplicate_distance=2))
    assert told(verdicts)[1] == "differs from s0 in 2 bits, duplicates at most 2"
    assert told(verdicts)[2] == "differs from s1 in 1 bits, duplicates at most 2"
    assert rules(verdicts) == ["", "duplicates", "duplicates", "", "", "min_area", ""]
    assert verdicts.value[[1, 2]].tolist() == [2, 1]
    assert judge(rows, section(duplicates="keep")).kept.all()


def test_near_duplicates_are_looked_for_anew(section: Callable[..., FilterMasks]) -> None:
    """Farther too than score_masks, at 6 bits, has noted."""
    rows = table({"hash": 0}, {"hash": 0b1111111})
    asked = (section(duplicates="reject", duplicate_distance=most) for most in (7, 6))
    assert [rules(judge(rows, one))[1] for one in asked] == ["duplicates", ""]


def test_of_exact_copies_one_is_kept_whatever_becomes_of_the_first(
    section: Callable[..., FilterMasks],
) -> None:
    copies = table(
        {"hash": 7, "classes": [scored(area=0.0)]},
        {"hash": 7, "duplicate_of": "s0", "duplicate_distance": 0},
        {"hash": 7, "duplicate_of": "s0", "duplicate_distance": 0},
        {"hash": None, "finite": False},
    )
    verdicts = judge(copies, section(min_area=0.1, duplicates="reject", duplicate_distance=0))
    assert rules(verdicts) == ["min_area", "", "duplicates", "finite"]
    assert told(verdicts)[2] == "differs from s1 in 0 bits, duplicates at most 0"


def test_balance_keeps_the_first_of_each_class(section: Callable[..., FilterMasks]) -> None:
    names = ["car"] * 5 + ["dog"] * 2 + ["car"]
    rows = table(*([scored(name), scored("tree")] for name in names))
    verdicts = judge(rows, section(max_per_class=3))
    assert verdicts.kept.tolist() == [True] * 3 + [False] * 2 + [True] * 2 + [False]
    assert told(verdicts)[3] == "car: number 4 of the class, max_per_class 3"
    by_ratio = judge(rows, section(max_per_class={"ratio": 2.0}))
    assert np.flatnonzero(~by_ratio.kept).tolist() == [4, 7]
    assert by_ratio.bound[4] == 4


def test_balance_counts_what_the_other_rules_have_left(
    section: Callable[..., FilterMasks],
) -> None:
    rows = table([scored(area=0.0)], [scored()], [scored()])
    verdicts = judge(rows, section(min_area=0.1, max_per_class=1))
    assert rules(verdicts) == ["min_area", "", "max_per_class"]
    nothing = judge(table([scored(area=0.0)]), section(min_area=0.1, max_per_class={"ratio": 2.0}))
    assert rules(nothing) == ["min_area"]


def test_no_samples_get_no_verdicts(section: Callable[..., FilterMasks]) -> None:
    everything = section(
        **FOUR, max_dark={"quantile": 0.5}, duplicates="reject", max_per_class=1, absent="allow"
    )
    assert len(judge(SCORES.empty_table(), everything).rule) == 0


def test_rules_are_keys_of_the_section() -> None:
    assert set(RULES) - {"finite"} <= set(FilterMasks.model_fields)


@pytest.mark.parametrize(
    ("changes", "rules", "reason"),
    [
        ({"area": 0.0399}, {"min_area": 0.04}, "car: area 0.0399 below min_area 0.04"),
        ({"area": 0.039999}, {"min_area": 0.04}, "car: area 0.039999 below min_area 0.04"),
        ({"area": 0.8003}, {"max_area": 0.8}, "car: area 0.8003 above max_area 0.8"),
        ({"area": 0.01}, {"min_area": 0.04}, "car: area 0.010 below min_area 0.04"),
    ],
)
def test_a_reason_does_not_round_to_what_it_denies(
    section: Callable[..., FilterMasks], changes: Row, rules: Row, reason: str
) -> None:
    assert told(judge(table([scored(**changes)]), section(**rules))) == [reason]


def test_a_bound_of_many_digits_does_not_either(section: Callable[..., FilterMasks]) -> None:
    bound = 0.123456
    (reason,) = told(judge(table([scored(area=0.12345)]), section(min_area=bound)))
    assert reason == "car: area 0.123 below min_area 0.1235"
    (reason,) = told(judge(table([scored(area=0.12346)]), section(max_area=bound)))
    assert reason == "car: area 0.1235 above max_area 0.12346"
