import json
from pathlib import Path

import pytest

from flows.results import StageRun
from flows.run_log import append_run, only_run
from tasks.params import InputError


def test_one_run_at_a_time(tmp_path: Path) -> None:
    refused = pytest.raises(InputError, match=r"under way here \(process \d+ since 20")
    with only_run(tmp_path), refused, only_run(tmp_path):
        pass
    with only_run(tmp_path):
        pass


def test_a_run_is_a_line(tmp_path: Path) -> None:
    (tmp_path / ".maskloom").mkdir()
    (tmp_path / "dvc.lock").write_text("stages: {a: {cmd: a, outs: [{path: b, md5: '5'}]}}\n")
    for state in ("failed", "completed"):
        append_run(
            "id", "2026-01-01T00:00:00+00:00", state, [StageRun("a", "ran", 1.2345)], tmp_path
        )
    first, second = (tmp_path / ".maskloom/runs.ndjson").read_text().splitlines()
    entry = json.loads(first)
    assert (entry["state"], json.loads(second)["state"]) == ("failed", "completed")
    assert entry["stages"] == [{"stage": "a", "outcome": "ran", "seconds": 1.23}]
    assert entry["outputs"] == {"b": "5"}
    assert entry["revision"] is None
    assert set(entry) >= {"run_id", "started", "ended", "host"}
    timings = (tmp_path / ".maskloom/timings.js").read_text()
    told = json.loads(timings.removeprefix("maskloomTimings(").removesuffix(");\n"))
    assert told == {key: json.loads(second)[key] for key in ("started", "host", "stages")}
