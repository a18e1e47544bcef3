"""The cells of the measurement differ in their words alone, and a finished one is not run again."""

import json
from pathlib import Path

import pytest

from benchmarks import prompt_augmentation
from benchmarks.prompt_augmentation import SHARES, cell_changes, finished, main

ROW = {"words": "class names", "seed": 0, "images": 16, "mIoU": 0.1}


@pytest.mark.parametrize("quick", [False, True])
def test_cells_differ_in_their_words_alone(quick: bool) -> None:
    plain, augmented = (cell_changes(words, 2, quick) for words in SHARES)
    assert plain["expand_prompts"].pop("shares") != augmented["expand_prompts"].pop("shares")
    assert plain == augmented
    assert plain["expand_prompts"]["seed"] == plain["train_segmenter"]["seed"] == 2
    assert ("sample_images" in plain) == quick


def test_cells_are_kept_by_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cells.ndjson"
    monkeypatch.setattr(prompt_augmentation, "CELLS", path)
    assert finished("abc", True) == []
    cells = [{"commit": commit, "quick": True, "row": ROW} for commit in ("abc", "def")]
    path.write_text("".join(json.dumps(cell) + "\n" for cell in cells))
    assert finished("abc", True) == [ROW]
    assert finished("abc", False) == []


def test_a_stopped_measurement_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[tuple[str, int]] = []

    def cell(words: str, seed: int, _quick: bool) -> dict:
        ran.append((words, seed))
        if len(ran) == 2:
            raise KeyboardInterrupt
        return ROW | {"words": words, "seed": seed}

    monkeypatch.setattr(prompt_augmentation, "CELLS", tmp_path / "cells.ndjson")
    monkeypatch.setattr(prompt_augmentation, "run_cell", cell)
    with pytest.raises(KeyboardInterrupt):
        main(quick=True)
    main(quick=True)
    assert ran == [("class names", 0), ("synonyms and hyponyms", 0), ("synonyms and hyponyms", 0)]
    assert "mean gain in mIoU" in capsys.readouterr().out
