"""The flow on a toy pipeline, real DVC and real Prefect."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
)

from flows.fan_out import SHARDED, FanOut, ShardsFailed
from flows.synthesize import app, main, synthesize
from flows.versions import versions

ROOT = Path(__file__).parents[2]

REFUSES = """
import sys
print("12:00:00 looking", file=sys.stderr)
print("params.yaml: x: unknown key; did you mean 'y'?", file=sys.stderr)
sys.exit(1)
"""
DIES_ONCE = """
import os, pathlib
mark = pathlib.Path("died")
if not mark.exists():
    mark.touch()
    os.kill(os.getpid(), 9)
open("b.txt", "w").write("b")
"""
SLEEPS = """
import time
print("asleep", flush=True)
time.sleep(100)
"""


@pytest.fixture
def house(toy: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(toy)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield toy
    for number, handler in handlers.items():
        signal.signal(number, handler)


def last_run(house: Path) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(
        (house / ".maskloom/runs.ndjson").read_text().splitlines()[-1]
    )
    return entry


def outcomes(house: Path) -> dict[str, str]:
    return {run["stage"]: run["outcome"] for run in last_run(house)["stages"]}


def test_runs_the_stages_then_finds_nothing_to_do(house: Path) -> None:
    assert synthesize(return_state=True).is_completed()
    assert outcomes(house) == {"first": "ran", "second": "ran", "third": "ran"}
    assert set(last_run(house)["outputs"]) == {"a.txt", "b.txt", "c.txt"}
    assert (house / "c.txt").read_text() == "b"

    synthesize(return_state=True)
    unchanged = dict.fromkeys(("first", "second", "third"), "unchanged")
    assert outcomes(house) == unchanged

    (house / "second.py").write_text('open("b.txt", "w").write("new")')
    synthesize(return_state=True)
    assert outcomes(house) == unchanged | {"second": "ran", "third": "ran"}
    assert (house / "c.txt").read_text() == "new"

    (house / "a.txt").unlink()
    synthesize(only="first", return_state=True)
    assert outcomes(house) == {"first": "restored"}

    synthesize(upto="first", force=True, return_state=True)
    assert outcomes(house) == {"first": "ran"}


def test_a_run_that_cannot_be_kept_is_still_in_the_run_log(
    house: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(run_id: str, ended: str) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flows.synthesize.keep", full)
    assert synthesize(upto="first", return_state=True).is_completed()
    assert outcomes(house) == {"first": "ran"}
    assert last_run(house)["version"] is None
    assert "not kept as a version: [Errno 28] No space left" in caplog.text


def test_leaves_logs_times_and_results_on_the_server(house: Path) -> None:
    (house / "metrics").mkdir()
    evaluation = {"miou": 0.5, "reference_miou": 0.8, "ratio": 0.625, "per_class": {"car": 0.5}}
    evaluation |= {"reference_per_class": {"car": 0.8}, "images": 3, "test_set": "t"}
    (house / "metrics/evaluation.json").write_text(json.dumps(evaluation | {"not_measured": []}))
    adapted = {"held_out_loss_before": 0.4, "held_out_loss_after": 0.3, "fall": 0.25}
    adapted |= {"steps": 100, "images": 72}
    (house / "metrics/adaptation.json").write_text(json.dumps(adapted))
    funnel = {"samples": 9, "kept": 7, "reasons": {"min_area": 2}, "train": 6, "val": 1}
    (house / "metrics/filter.json").write_text(json.dumps(funnel))
    (house / "report").mkdir()
    (house / "report/index.html").touch()
    pipeline = (house / "dvc.yaml").read_text()
    names = {"first": "filter_masks", "second": "evaluate_segmenter", "third": "write_report"}
    for old, new in names.items():
        pipeline = pipeline.replace(f"{old}:", f"{new}:")
    (house / "dvc.yaml").write_text(pipeline)
    state = synthesize(return_state=True)
    run_id = state.state_details.flow_run_id
    assert run_id == UUID(last_run(house)["run_id"])
    assert [version.name for version in versions(house)] == [last_run(house)["version"]]
    with get_client(sync_client=True) as client:
        tasks = client.read_task_runs(
            task_run_filter=TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[run_id]))
        )
        artifacts = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
        )
    assert sorted(task.name for task in tasks) == sorted(names.values())
    data = {artifact.key: artifact.data for artifact in artifacts}
    assert "| filter_masks | ran |" in data["synthesize-stages"]
    assert json.loads(data["synthesize-funnel"])[1] == {
        "step": "rejected by min_area",
        "samples": "-2",
    }
    assert (house / "report/index.html").as_uri() in data["synthesize-report"]
    assert json.loads(data["synthesize-result"])[-1] == {
        "class": "ratio",
        "synthetic only": "0.625",
        "reference": "-",
    }
    assert data["filter-masks-progress"] == 100.0
    assert "| `a.txt` | `0cc175b9c0f1b6a831c399e269772661` |" in data["filter-masks-outputs"]
    assert (house / "a.txt").as_uri() in data["filter-masks-place"]
    told = {artifact.key: artifact.description or "" for artifact in artifacts}
    assert told["synthesize-result"].startswith("IoU, metrics/evaluation.json\n\nAdapted to 72 ")


def test_shards_are_computed_before_their_stage_and_only_where_it_has_work(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int, bool]] = []

    def compute(stage: str, how: FanOut) -> int:
        asked.append((stage, how.workers, (house / "b.txt").exists()))
        return 0

    monkeypatch.setattr("flows.synthesize.compute_shards", compute)
    monkeypatch.setitem(SHARDED, "second", ("", ""))
    synthesize(return_state=True)
    assert asked == []
    (house / "b.txt").unlink()
    how = FanOut(runner="processes", workers=3)
    (house / "second.py").write_text('open("b.txt", "w").write("new")')
    for _ in range(2):
        assert synthesize(fan_out=how, return_state=True).is_completed()
    assert asked == [("second", 3, False)]

    def fail(_stage: str, _how: FanOut) -> int:
        raise ShardsFailed("1 shards could not be computed\nb (samples 1, 2): a bad row")

    monkeypatch.setattr("flows.synthesize.compute_shards", fail)
    (house / "b.txt").unlink()
    state = synthesize(fan_out=how, return_state=True)
    assert state.is_failed() and state.message == "1 shards could not be computed"
    assert outcomes(house) == {"first": "unchanged", "second": "failed"}


def test_a_refusal_is_not_tried_again_and_ends_with_its_message(
    house: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (house / "second.py").write_text(REFUSES)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert outcomes(house) == {"first": "ran", "second": "failed"}
    assert last_run(house)["state"] == "failed"
    printed = capfd.readouterr().err
    assert caplog.messages.count("looking") == 1
    assert "Traceback" not in caplog.text + printed
    message = "params.yaml: x: unknown key; did you mean 'y'?"
    assert printed.endswith(f"stage second failed (exit status 1)\n{message}\n")


def test_a_killed_stage_is_tried_once_more(house: Path) -> None:
    (house / "second.py").write_text(DIES_ONCE)
    assert synthesize(return_state=True).is_completed()
    assert outcomes(house)["second"] == "ran"


def test_an_unknown_stage_starts_nothing(house: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(only="frist")
    assert ended.value.code == 1
    assert capfd.readouterr().err == "'frist' is no stage of dvc.yaml; did you mean 'first'?\n"
    assert not (house / ".maskloom").exists()


def test_a_wrong_option_is_named_with_its_rule(capsys: pytest.CaptureFixture[str]) -> None:
    for option, value, rule in (
        ("workers", "0", "it has to be greater than or equal to 1"),
        ("retries", "-1", "it has to be greater than or equal to 0"),
        ("runner", "thread", "it has to be 'none', 'threads', 'processes' or 'ray'"),
    ):
        with pytest.raises(SystemExit):
            app([f"--fan-out.{option}={value}"])
        told = " ".join(capsys.readouterr().err.split())
        assert told == f"--fan-out.{option}: '{value}' is not allowed; {rule}"
    with pytest.raises(SystemExit):
        app(["--fan-out.worker=2"])
    assert "--fan-out.worker" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("send", [os.kill, os.killpg])  # the terminal's Ctrl-C goes to the group
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_flow_its_stage_and_its_server(
    toy: Path,
    number: signal.Signals,
    send: Callable[[int, int], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    (toy / "second.py").write_text(SLEEPS)
    home = tmp_path_factory.mktemp("prefect")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(home)}
    environment.pop("PREFECT_API_URL", None)
    log = toy / "flow.log"
    # What runs in the background of a shell ignores Ctrl-C, and so would what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(log, "w") as out:
        flow = subprocess.Popen(
            [sys.executable, "-m", "flows.synthesize"],
            cwd=toy,
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    deadline = time.monotonic() + 120
    while "asleep" not in log.read_text():
        assert time.monotonic() < deadline and flow.poll() is None, log.read_text()
        time.sleep(0.2)
    send(flow.pid, number)
    assert flow.wait(60) in (128 + number, -number)
    told = log.read_text()
    assert "Traceback" not in told and "Unable to connect" not in told
    assert ("Stopped. Finished stages are kept" in told) == (number == signal.SIGINT)
    assert outcomes(toy) == {"first": "ran", "second": "cancelled"}
    left = [
        folder
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and str(home).encode() in environ(folder)
    ]
    assert not left, [(folder / "cmdline").read_bytes() for folder in left]


def environ(folder: Path) -> bytes:
    try:
        return (folder / "environ").read_bytes()
    except OSError:
        return b""
