import json
from pathlib import Path

import pytest

from benchmarks import record
from benchmarks.readme import build, markdown_table
from benchmarks.record import Bar, finish

RAN = {"command": "python -m benchmarks.toy", "date": "2026-01-01", "versions": {"torch": "2"}}
ROWS = [{"what": "a", "seconds": 1.23456}, {"what": "b", "seconds": 2.0}]


def test_writes_what_ran_rows_and_bars(tmp_path: Path) -> None:
    finish("toy", RAN, ROWS, [Bar.at_most("time", 2.0, 3.0)], tmp_path)
    result = json.loads((tmp_path / "toy.json").read_text())
    assert result == {
        "ran": RAN,
        "rows": ROWS,
        "bars": [{"name": "time", "value": 2.0, "bound": 3.0, "holds": True}],
    }


def test_a_bar_judges_the_value_and_shows_it_rounded() -> None:
    assert Bar.at_most("time", 5.04, 5, 1) == Bar("time", 5.0, 5, False)
    assert Bar.at_least("score", 0.7996, 0.8, 3) == Bar("score", 0.8, 0.8, False)


def test_a_bar_that_does_not_hold_is_exit_status_1(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        finish("toy", RAN, ROWS, [Bar.at_least("score", 0.2, 0.5)], tmp_path)
    assert ended.value.code == 1
    assert not json.loads((tmp_path / "toy.json").read_text())["bars"][0]["holds"]


def test_the_page_shows_every_result(tmp_path: Path) -> None:
    finish("toy", RAN, ROWS, [Bar.at_most("time", 2.0, 3.0)], tmp_path)
    page = build(tmp_path)
    assert (
        "## toy\n\n    python -m benchmarks.toy\n\n* date: 2026-01-01\n* versions: torch 2\n"
        in page
    )
    assert "| a | 1.235 |" in page
    assert "| time | 2 | 3 | yes |" in page


def test_a_benchmark_may_tell_without_a_bar(tmp_path: Path) -> None:
    finish("toy", RAN, ROWS, [], tmp_path)
    assert json.loads((tmp_path / "toy.json").read_text())["bars"] == []
    assert build(tmp_path).endswith("| b | 2 |\n")


def test_a_table_has_the_rows_keys_as_its_head() -> None:
    assert markdown_table([{"x": 1, "y": False}]) == "| x | y |\n| --- | --- |\n| 1 | NO |"


def test_a_missing_crf_ends_a_benchmark_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "find_spec", lambda _name: None)
    with pytest.raises(SystemExit, match="the dense CRF is not installed: run `make crf`"):
        record.need_crf()
    monkeypatch.setattr(record, "find_spec", lambda _name: object())
    record.need_crf()
