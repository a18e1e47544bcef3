"""The trainings' curves and what became of reliability."""

from typing import Any

from tasks.report_training import curve, reliability

COLOURS = {"background": "#969696", "car": "#e5484d"}


def history(*rows: tuple[int, float, float | None]) -> dict[str, Any]:
    return {
        "reliability": [
            {
                "iteration": iteration,
                "strength": 1.0,
                "reliable": whole,
                "reliable_by_class": {"background": 1.0, "car": car},
            }
            for iteration, whole, car in rows
        ]
    }


def test_a_curve_has_a_line_for_each_training_that_has_it() -> None:
    chart = curve("val", "mIoU", {"val": [[10, 0.2], [20, 0.5]]}, {"val": [[20, 0.9]]}, top=1.0)
    assert [line.name for line in chart.lines] == ["synthetic", "reference"]
    assert curve("val", "mIoU", {"val": []}, {}) is None


def test_trust_is_told_over_time_and_by_class() -> None:
    found = reliability(history((50, 1.0, None), (100, 0.5, 0.25)), COLOURS)
    assert found is not None and not found["agreement"]
    assert [line.name for line in found["chart"].lines] == ["reliable"]
    background, car = found["classes"]
    assert background["path"] == "M50.0 0.0L100.0 0.0"
    assert (car["name"], car["colour"], car["last"]) == ("car", "#e5484d", 0.25)
    assert car["path"] == "M100.0 18.0"


def test_two_networks_agree() -> None:
    training = history((50, 1.0, 0.5))
    training["reliability"][0]["agreement"] = 0.75
    found = reliability(training, COLOURS)
    assert found is not None and found["agreement"]
    assert [line.name for line in found["chart"].lines] == ["reliable", "agreement"]


def test_a_training_without_reliability_has_none() -> None:
    assert reliability({"curve": []}, COLOURS) is None
