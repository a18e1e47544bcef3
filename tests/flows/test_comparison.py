"""Tables, claims and plots of a grid's runs, against numbers worked out by hand."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from flows.comparison import judge, markdown, summarise, write
from flows.grids import Grid


def grid(**more: Any) -> Grid:
    text = {"title": "T", "seeds": [0, 1], "also": {"images": "filter.train"}}
    return Grid.model_validate({**text, "settings": {"a": {}, "b": {}}, **more})


def runs(**values: list[float]) -> list[dict[str, Any]]:
    return [
        {"setting": name, "seed": seed, "value": value, "images": 10.0 * (seed + 1), "minutes": 1.0}
        for name, found in values.items()
        for seed, value in enumerate(found)
    ]


def test_gains_are_paired_by_seed() -> None:
    rows = summarise(grid(), runs(a=[0.2, 0.6], b=[0.3, 0.9]))
    assert rows == [
        {
            "setting": "a", "mean": 0.4, "deviation": 0.2828, "gain": "", "its deviation": "",
            "by seed": "0.2000, 0.6000", "images": 15.0,
        },
        {
            "setting": "b", "mean": 0.6, "deviation": 0.4243, "gain": 0.2, "its deviation": 0.1414,
            "by seed": "0.3000, 0.9000", "images": 15.0,
        },
    ]  # fmt: skip


def test_unfinished_runs_are_left_out_of_means_and_pairs() -> None:
    rows = summarise(grid(), runs(a=[0.2, 0.6], b=[0.3]))
    assert rows[1]["mean"] == 0.3 and rows[1]["gain"] == 0.1 and rows[1]["its deviation"] == 0.0
    assert [row["setting"] for row in summarise(grid(), runs(b=[0.3]))] == ["b"]
    assert summarise(grid(), []) == []


@pytest.mark.parametrize(
    ("claim", "value", "bound", "holds"),
    [
        ({"setting": "b", "above": "a", "by": 0.19}, 0.2, 0.19, True),
        ({"setting": "b", "above": "a", "by": 0.21}, 0.2, 0.21, False),
        ({"setting": "b", "above": "a", "by": "deviation"}, 0.2, 0.1414, True),
        ({"setting": "a", "above": "b", "by": "-deviation"}, -0.2, -0.1414, False),
        ({"setting": "a", "of": "b", "share": 0.6}, 0.6667, 0.6, True),
        ({"setting": "a", "of": "b", "share": 0.7}, 0.6667, 0.7, False),
    ],
)
def test_claims(claim: dict[str, Any], value: float, bound: float, holds: bool) -> None:
    (verdict,) = judge(grid(claims=[claim]), runs(a=[0.2, 0.6], b=[0.3, 0.9]))
    assert (verdict.value, verdict.bound, verdict.holds) == (value, bound, holds)


def test_a_claim_without_runs_does_not_hold() -> None:
    claims = [{"setting": "b", "above": "a", "by": -1}, {"setting": "b", "of": "a", "share": 0.1}]
    for verdict in judge(grid(claims=claims), runs(b=[0.3])):
        assert math.isnan(verdict.value) and not verdict.holds


def test_one_pair_has_no_deviation_that_a_gain_could_be_above() -> None:
    claims = [{"setting": "b", "above": "a", "by": by} for by in ("deviation", "-deviation")]
    for verdict in judge(grid(claims=claims), runs(a=[0.2, 0.6], b=[0.3])):
        assert round(verdict.value, 4) == 0.1 and math.isnan(verdict.bound) and not verdict.holds


def test_a_share_is_over_the_seeds_that_both_have() -> None:
    claims = [{"setting": "a", "of": "b", "share": 0.6}]
    (verdict,) = judge(grid(claims=claims), runs(a=[0.2, 0.6], b=[0.4]))
    assert (verdict.value, verdict.holds) == (0.5, False)


def test_a_share_of_nothing_does_not_hold(tmp_path: Path) -> None:
    nothing = grid(claims=[{"setting": "a", "of": "b", "share": 0.6}])
    rows = runs(a=[0.2, 0.6], b=[0.0, 0.0])
    (verdict,) = judge(nothing, rows)
    assert verdict.name == "a, share of b, whose mean is 0"
    assert math.isnan(verdict.value) and not verdict.holds
    write(nothing, rows, tmp_path)
    assert "| a, share of b, whose mean is 0 | nan | 0.6 | NO |" in (
        (tmp_path / "table.md").read_text()
    )


def test_what_is_written(tmp_path: Path) -> None:
    claims = [{"setting": "b", "above": "a", "by": 0.3}]
    write(grid(claims=claims), runs(a=[0.2, 0.6], b=[0.3, 0.9]), tmp_path)
    with open(tmp_path / "runs.csv", newline="") as file:
        assert [row["value"] for row in csv.DictReader(file)] == ["0.2", "0.6", "0.3", "0.9"]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["claims"] == [{"name": "b above a", "value": 0.2, "bound": 0.3, "holds": False}]
    text = (tmp_path / "table.md").read_text()
    assert "| b | 0.6 | 0.4243 | 0.2 | 0.1414 | 0.3000, 0.9000 | 15.0 |" in text
    assert "| b above a | 0.2 | 0.3 | NO |" in text
    assert (tmp_path / "plot.svg").read_text().lstrip().startswith("<?xml")


def test_what_is_not_known_yet_is_null(tmp_path: Path) -> None:
    unfinished = grid(claims=[{"setting": "b", "above": "a", "by": 0.3}])
    for rows in ([], runs(b=[0.3])):
        write(unfinished, rows, tmp_path)
        text = (tmp_path / "result.json").read_text()
        (claim,) = json.loads(text, parse_constant=pytest.fail)["claims"]
        assert claim == {"name": "b above a", "value": None, "bound": 0.3, "holds": False}


def test_a_column_that_a_run_did_not_measure_is_empty(tmp_path: Path) -> None:
    rows = runs(a=[0.2, 0.6], b=[0.3, 0.9])
    for row in rows[1:]:
        row["images"] = None
    assert [row["images"] for row in summarise(grid(), rows)] == [10.0, ""]
    write(grid(), rows, tmp_path)
    with open(tmp_path / "runs.csv", newline="") as file:
        assert [row["images"] for row in csv.DictReader(file)] == ["10.0", "", "", ""]
    assert "| 0.3000, 0.9000 |  |" in (tmp_path / "table.md").read_text()


def test_numbers_as_settings_are_drawn_along_an_axis(tmp_path: Path) -> None:
    numbers = grid(axis="images", settings={"100": {}, "300": {}})
    write(numbers, runs(**{"100": [0.2, 0.6], "300": [0.3, 0.9]}), tmp_path)
    assert "images" in (tmp_path / "plot.svg").read_text()


def test_nothing_finished_is_said() -> None:
    assert markdown(grid(), []) == "T\n\nNo run is finished.\n"
