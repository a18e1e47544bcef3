"""What starts where, and how gains are paired."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import pretraining
from benchmarks.pretraining import LONGER, PRETRAINED, SCRATCH, run_cell, summarise


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], str, Path | None]]:
    """What the pipeline was asked for; nothing is run."""
    asked: list[tuple[dict[str, Any], str, Path | None]] = []

    def run(changes: dict[str, Any], stage: str, kept: Path | None = None) -> dict[str, Any]:
        asked.append((changes, stage, kept))
        return {"evaluation": {"miou": 0.5}}

    monkeypatch.setattr(pretraining, "run_pipeline", run)
    return asked


def test_only_the_pretrained_start_from_the_network_of_the_kinds(runs: list[Any]) -> None:
    for start in (SCRATCH, LONGER, PRETRAINED):
        row = run_cell(1, 12, start, quick=False)
        (kinds, upto, folder), (eight, last, _) = runs[-2:]
        assert (upto, last) == ("train_segmenter", "evaluate_segmenter")
        assert len(kinds["expand_prompts"]["classes"]) == 24
        assert (kinds["expand_prompts"]["seed"], kinds["train_segmenter"]["seed"]) == (1, 1)
        assert kinds["train_segmenter"]["iterations"] == 750
        assert eight["expand_prompts"] == {"seed": 1, "images_per_class": 12}
        before = str(folder / "models/segmenter") if start == PRETRAINED else "none"
        assert eight["train_segmenter"]["init_from"] == before
        both = 750 + kinds["train_segmenter"]["iterations"]
        assert eight["train_segmenter"]["iterations"] == (both if start == LONGER else 750)
        assert row["iterations"] == eight["train_segmenter"]["iterations"]


def test_gains_are_paired_by_seed() -> None:
    found = {SCRATCH: (0.4, 0.6), LONGER: (0.4, 0.5), PRETRAINED: (0.5, 0.72)}
    rows: list[dict[str, Any]] = [
        {"images of a class": 12, "start": start, "seed": seed, "mIoU": value}
        for start, values in found.items()
        for seed, value in enumerate(values)
    ]
    table, bars = summarise(rows)
    assert [(row["start"], row["mIoU, mean"], row["gain"]) for row in table] == [
        (SCRATCH, 0.5, 0.0),
        (LONGER, 0.45, -0.05),
        (PRETRAINED, 0.61, 0.11),
    ]
    (bar,) = bars
    assert (bar.value, bar.bound, bar.holds) == (0.11, 0.0141, True)
