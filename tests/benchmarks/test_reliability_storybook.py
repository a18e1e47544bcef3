"""The grid's summary, its bars, and a smoke run."""

import pytest

from benchmarks import cells, reliability_storybook
from benchmarks.reliability_storybook import METHODS, cell_changes, judge, main


def row(seed: int, *values: float) -> dict[str, object]:
    return {"seed": seed, **dict(zip(METHODS, values, strict=True))}


def test_the_bars_are_of_the_means_and_the_spread_of_none() -> None:
    rows = [row(0, 0.60, 0.59, 0.62, 0.61, 0.65), row(1, 0.62, 0.60, 0.63, 0.63, 0.66)]
    (averages, deviations), (gain, worst) = judge(rows, quick=False)
    assert averages == {
        "seed": "mean",
        "none": 0.61,
        "ignore_band": 0.595,
        "weighted": 0.625,
        "urn": 0.62,
        "co_training": 0.655,
    }
    assert deviations["none"] == pytest.approx(0.0141)
    assert (gain.value, gain.bound, gain.holds) == (0.045, 0.03, True)
    assert (worst.value, worst.bound, worst.holds) == (-0.015, -0.0141, False)


def test_the_methods_of_a_seed_differ_in_the_method_alone() -> None:
    found = [cell_changes(method, 2, quick=False) for method in METHODS]
    assert [each["train_segmenter"].pop("reliability") for each in found] == list(METHODS)
    assert all(each == found[0] for each in found)
    assert found[0]["expand_prompts"]["seed"] == found[0]["train_segmenter"]["seed"] == 2


@pytest.mark.slow
def test_a_smoke_run_measures_every_method(
    tmp_path: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for module in (cells, reliability_storybook):
        monkeypatch.setattr(module, "STORE", tmp_path)
    main(quick=True)
    printed = capsys.readouterr().out
    assert all(method in printed for method in METHODS)
    assert "co_training above none" in printed
