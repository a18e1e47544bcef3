import json
import logging
from pathlib import Path

import pytest

from flows.results import StageRun
from flows.run_log import append_run
from tasks.run_records import RUN_LOG, read_runs, run_of


def line(run_id: str, outcome: str, md5: str) -> dict:
    return {
        "run_id": run_id,
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T01:00:00+00:00",
        "state": "completed",
        "host": "h",
        "revision": "r",
        "stages": [{"stage": "filter_masks", "outcome": outcome, "seconds": 2.0}],
        "outputs": {"data/dataset": md5},
    }


def test_what_the_flow_writes_is_read(tmp_path: Path) -> None:
    (tmp_path / ".maskloom").mkdir()
    lock = "stages: {filter_masks: {cmd: a, outs: [{path: data/dataset, md5: '5'}]}}\n"
    (tmp_path / "dvc.lock").write_text(lock)
    started = "2026-01-01T00:00:00+00:00"
    stages = [StageRun("filter_masks", "ran", 1.234)]
    append_run("id", started, "completed", stages, tmp_path, version="run-1")
    (run,) = read_runs(tmp_path)
    found = run_of("filter_masks", "data/dataset", "5", [run])
    assert found is not None
    assert (found["run_id"], found["outcome"], found["seconds"]) == ("id", "ran", 1.23)
    assert found["version"] == "run-1"


def test_the_run_that_made_an_output_is_the_first_that_ran_its_stage() -> None:
    runs = [
        line("other digest", "ran", "1"),
        line("found it there", "unchanged", "2"),
        line("made it", "ran", "2"),
        line("made it again", "ran", "2"),
    ]
    found = run_of("filter_masks", "data/dataset", "2", runs)
    assert found is not None and found["run_id"] == "made it"
    first = run_of("filter_masks", "data/dataset", "2", runs[:2])
    assert first is not None and first["run_id"] == "found it there"
    assert run_of("filter_masks", "data/dataset", "3", runs) is None


def test_a_line_that_was_cut_short_is_told_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / RUN_LOG
    path.parent.mkdir()
    whole = json.dumps(line("whole", "ran", "1"))
    path.write_text(f'{whole}\n{whole[:50]}\n"text"\n[]\n{whole}\n')
    with caplog.at_level(logging.WARNING):
        assert [run["run_id"] for run in read_runs(tmp_path)] == ["whole", "whole"]
    assert [record.args[1] for record in caplog.records] == [2, 3, 4]


def test_no_run_log_is_no_run(tmp_path: Path) -> None:
    assert list(read_runs(tmp_path)) == []
