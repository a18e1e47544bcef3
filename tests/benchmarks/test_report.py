"""The benchmark of the report, with a few samples."""

from pathlib import Path

import pytest

from benchmarks.browser import find_chromium
from benchmarks.report import DRAWN, build, draw, use, write_rest, write_tables


def test_a_made_up_run_is_written_and_used(tmp_path: Path) -> None:
    drawn = draw(tmp_path)
    assert len(drawn) == 2 * DRAWN  # with the attention of one phrase and of two
    write_tables(tmp_path, 20, drawn)
    write_rest(tmp_path, 20)
    seconds, peak = build(tmp_path)
    assert 0 < seconds < 60 and 0.05 < peak < 1
    assert (tmp_path / "report/data/pictures-0001.js").is_file()
    if find_chromium() is None:
        pytest.skip("no Chromium is installed")
    used = use(tmp_path / "report/gallery.html")
    assert all(value > 0 for value in used.values())
    assert used["first picture, s"] <= used["whole table, s"]
