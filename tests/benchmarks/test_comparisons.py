"""A grid's table and claims become a result; one missed claim does not keep others from running."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import comparisons
from benchmarks.comparisons import main, measure
from flows.compare import Compared, RunFailed
from flows.grids import Grid

GRID = """
title: Longer is better
seeds: [0, 1]
settings:
  short: {train_segmenter: {iterations: 250}}
  long: {train_segmenter: {iterations: 500}}
claims:
  - {setting: long, above: short, by: 0.2}
"""


def compared(*_: Any) -> Compared:
    values = {"short": (0.2, 0.4), "long": (0.3, 0.9)}
    rows = [
        {"setting": name, "seed": seed, "value": value, "minutes": 2.5}
        for name, found in values.items()
        for seed, value in enumerate(found)
    ]
    return Compared(Grid.model_validate(yaml.safe_load(GRID)), "0123456789abcdef", rows)


def test_a_claim_is_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "compare", compared)
    measure("length", 1, tmp_path, tmp_path)
    found = json.loads((tmp_path / "compare_length.json").read_text())
    assert [row["mean"] for row in found["rows"]] == [0.3, 0.6]
    assert found["bars"] == [
        {"name": "long above short", "value": 0.3, "bound": 0.2, "holds": True}
    ]
    assert found["ran"]["minutes"].startswith("10,") and found["ran"]["commit"] == "0123456789ab"
    assert found["ran"]["seeds"] == "0, 1"


def test_all_grids_run_where_one_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def missed(name: str, jobs: int) -> None:
        ran.append(name)
        raise SystemExit(1)

    monkeypatch.setattr(comparisons, "measure", missed)
    monkeypatch.setattr(comparisons, "checked", lambda *_: None)
    with pytest.raises(SystemExit) as end:
        main("street", "images")
    assert end.value.code == 1 and ran == ["street", "images"]
    with pytest.raises(SystemExit):
        main()
    assert "ladder" in ran and "quick" not in ran


def test_all_grids_run_where_a_run_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def failed(name: str, jobs: int) -> None:
        ran.append(name)
        if name == "street":
            raise RunFailed("adapted, seed 0: exit status 1")

    monkeypatch.setattr(comparisons, "measure", failed)
    monkeypatch.setattr(comparisons, "checked", lambda *_: None)
    with pytest.raises(SystemExit) as end:
        main("street", "images")
    assert end.value.code == 1 and ran == ["street", "images"]
    assert "street: adapted, seed 0: exit status 1" in capsys.readouterr().err


def test_a_signal_ends_all_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def ended(name: str, jobs: int) -> None:
        ran.append(name)
        raise SystemExit(128 + 15)

    monkeypatch.setattr(comparisons, "measure", ended)
    monkeypatch.setattr(comparisons, "checked", lambda *_: None)
    with pytest.raises(SystemExit) as end:
        main("street", "images")
    assert end.value.code == 143 and ran == ["street"]
