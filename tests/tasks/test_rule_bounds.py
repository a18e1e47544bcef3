"""What is told beside a verdict is what decided it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.params import FilterMasks, Params
from tasks.records import SCORES, write_table
from tasks.rule_bounds import ABSENT, CLASS_SCORES, WHOLE_SCORES, Rule, judged, rules_of
from tasks.verdicts import CLASS_RULES, IMAGE_RULES, RULES, WHOLE_RULES, judge

Make = Callable[..., Params]
Row = dict[str, Any]

OFF = dict.fromkeys((*IMAGE_RULES, *CLASS_RULES, *WHOLE_RULES)) | {
    "duplicates": "keep",
    "max_per_class": None,
    "absent": "reject",
}
BOUNDS: dict[str, Row] = {
    "numbers": {"min_area": 0.3, "max_border": 0.7, "max_components": 3, "min_contrast": 20.0},
    "quantiles": {"min_area": {"quantile": 0.07}, "max_entropy": {"quantile": 0.9}},
    "quantiles of the whole": {
        "min_contrast": {"quantile": 0.1},
        "max_dark": {"quantile": 0.83},
        "min_quality": {"quantile": 0.2},
    },
    "absent": {"min_area": 0.3, "min_peak": 0.4, "absent": "allow"},
}


def section(make_params: Make, rules: Row) -> FilterMasks:
    values: Row = {f"filter_masks.{key}": value for key, value in (OFF | rules).items()}
    values["score_masks.cross_validation.folds"] = 3  # what min_quality is asked of
    return make_params(values).filter_masks


def table() -> list[Row]:
    """Two hundred samples with one to three classes, some scores unknown, some samples damaged."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(200):
        names = random.permutation(["car", "boat", "dog"])[: random.integers(1, 4)]
        classes = [
            {"name": str(name), "components": int(random.integers(1, 6))}
            | {score: float(random.random()) for score in CLASS_SCORES if score != "components"}
            | ({"agreement": None} if number % 5 == 0 else {})
            for name in names
        ]
        whole: Row = {score: float(random.random()) for score in WHOLE_SCORES}
        whole["contrast"] *= 100
        if number % 7 == 0:
            whole["quality"] = None
        rows.append(
            {"sample_id": f"s{number}", "finite": number % 11 != 0, "entropy": 0.5}
            | {"duplicate_of": "", "classes": classes}
            | whole
        )
    return rows


def test_every_rule_about_a_score_is_told() -> None:
    rules = {f"{side}_{score}" for side in ("min", "max") for score in CLASS_SCORES}
    assert set(CLASS_RULES) <= rules
    assert {rule.partition("_")[2] for rule in CLASS_RULES} == set(CLASS_SCORES)
    whole = (*IMAGE_RULES, *WHOLE_RULES)
    assert {rule.partition("_")[2] for rule in whole} == set(WHOLE_SCORES)
    asked = rules_of(dict.fromkeys((*RULES, "min_per_class", "val_share", "seed"), 1))
    assert {rule.key for rule in asked} == {*CLASS_RULES, *whole}


def test_a_score_that_equals_its_bound_holds() -> None:
    above, below = float(np.float32(0.2)), float(np.float32(0.7))
    assert above > 0.2 and below < 0.7
    most, least = Rule("max_border", 0.2, None), Rule("min_largest", 0.7, None)
    assert most.holds(above, 0.2) is True and least.holds(below, 0.7) is True
    assert most.holds(0.21, 0.2) is False and least.holds(0.69, 0.7) is False


@pytest.mark.parametrize("bounds", BOUNDS)
def test_what_holds_is_what_decided(make_params: Make, tmp_path: Path, bounds: str) -> None:
    asked = section(make_params, BOUNDS[bounds])
    write_table(tmp_path / "scores.parquet", table(), SCORES)
    rows = pa.Table.from_pylist(table(), schema=SCORES).to_pylist()
    verdicts = judge(pa.Table.from_pylist(rows, schema=SCORES), asked)
    values = asked.model_dump(mode="json")
    seen = set()
    for number, row in enumerate(rows):
        if not row["finite"]:
            continue
        told = judged(values, row, row["classes"], tmp_path / "scores.parquet")
        broken = [one for one in told if one["holds"] is False]
        assert bool(broken) == (not verdicts.kept[number])
        if broken:
            decided = RULES[verdicts.rule[number]]
            (own,) = (
                one
                for one in broken
                if one["rule"] == decided and one["class"] in (None, verdicts.subject[number])
            )
            assert own["value"] == verdicts.value[number]
            assert own["bound"] == verdicts.bound[number]
            seen.add(decided)
        excused = [one for one in told if one["note"]]
        assert all(one["holds"] is None and one["note"] == ABSENT for one in excused)
    assert seen == set(BOUNDS[bounds]) - {"absent"}


def test_a_quantile_without_its_table_is_not_guessed(make_params: Make) -> None:
    values = section(make_params, BOUNDS["quantiles"]).model_dump(mode="json")
    row = table()[1]
    told = judged(values, row, row["classes"], None)
    assert {one["rule"] for one in told} == {"min_area", "max_entropy"}
    assert all(one["bound"] is None and one["holds"] is None for one in told)
    assert {one["quantile"] for one in told} == {0.07, 0.9}
