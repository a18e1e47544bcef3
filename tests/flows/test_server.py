"""`make server` on a toy repository: a real server, worker and schedule on loopback."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateName,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import AwaitingRetry, Cancelling

from flows.deployments import DEAD_RUN_RULE, close_dead_runs
from flows.server import settings
from tasks.params import InputError

ROOT = Path(__file__).parents[2]
AUTH = "me:secret"
PIPELINE = """
stages:
  expand_prompts: {cmd: python first.py, deps: [first.py], outs: [a.txt]}
  filter_masks: {cmd: python second.py, deps: [a.txt, second.py], outs: [b.txt]}
  train_segmenter: {cmd: cp b.txt c.txt, deps: [b.txt], outs: [c.txt]}
  evaluate_segmenter: {cmd: cp c.txt d.txt, deps: [c.txt], outs: [d.txt]}
  write_report: {cmd: cp d.txt e.txt, deps: [d.txt], outs: [e.txt]}
"""
SECOND = """
import os, pathlib, subprocess
pathlib.Path("pid").write_text(str(os.getpid()))
if pathlib.Path("slow").exists():
    subprocess.run(["sleep", "300"])
open("b.txt", "w").write("b")
"""


def test_no_server_without_credentials_or_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
    with pytest.raises(InputError, match=r"PREFECT_API_AUTH_STRING: not set.*export"):
        settings(4200)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "secret")
    with pytest.raises(InputError, match="is not NAME:PASSWORD"):
        settings(4200)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", AUTH)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match=r"--port: \d+ cannot be had \(Address already in use"):
            settings(taken.getsockname()[1])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Path, SyncPrefectClient]]:
    """The repository and a client; the schedule, still off, is every 15 seconds, not each night."""
    house = tmp_path_factory.mktemp("house")
    names = ("flows", "tasks", ".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore")
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *names,
         "pyproject.toml"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in files:
        (house / name).parent.mkdir(parents=True, exist_ok=True)
        (house / name).write_bytes((ROOT / name).read_bytes())
    nightly = (ROOT / "prefect.yaml").read_text()
    changes = {'cron: "30 2 * * *"\n        timezone: UTC': "interval: 15"}
    changes |= {"active: true": "active: false"}  # a test switches it on
    for before, after in changes.items():
        assert before in nightly
        nightly = nightly.replace(before, after)
    (house / "prefect.yaml").write_text(nightly)
    (house / "dvc.yaml").write_text(PIPELINE)
    (house / "first.py").write_text('open("a.txt", "w").write("a")')
    (house / "second.py").write_text(SECOND)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "-qm", "toy"]):
        subprocess.run(["git", *command], cwd=house, check=True)
    port = free_port()
    environment = os.environ | {"PREFECT_API_AUTH_STRING": AUTH}
    environment.pop("PREFECT_API_URL", None)
    log = house / "server.log"
    with open(log, "w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.server", "--port", str(port)],
            cwd=house, env=environment, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(lambda: "Ctrl-C" in log.read_text() or process.poll() is not None, 120)
        assert process.poll() is None, log.read_text()
        url = f"http://127.0.0.1:{port}/api"
        with (
            temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: AUTH}),
            get_client(sync_client=True) as client,
        ):
            yield house, client
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
        left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
        assert f"--port {port}" not in left.stdout


def wait_for(condition: Callable[[], Any], seconds: float) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds
        time.sleep(0.1)
    return time.monotonic() - started


def start(deployment: str, **parameters: Any) -> UUID:
    run = run_deployment(f"synthesize/{deployment}", timeout=0, parameters=parameters)
    assert isinstance(run, FlowRun)
    return run.id


def state_of(client: SyncPrefectClient, run: UUID) -> str:
    state = client.read_flow_run(run).state
    assert state is not None
    return state.name


def running_run(client: SyncPrefectClient) -> UUID:
    """The run under way; the pool takes one at a time."""
    named = FlowRunFilterState(name=FlowRunFilterStateName(any_=["Running"]))
    (run,) = client.read_flow_runs(flow_run_filter=FlowRunFilter(state=named))
    return run.id


def slow_stage(house: Path) -> None:
    """Let the second stage sleep in the next run, and leave its process in ``pid``."""
    (house / "pid").unlink(missing_ok=True)
    (house / "slow").touch()
    (house / "b.txt").unlink(missing_ok=True)
    (house / "second.py").write_text(SECOND + f"# {time.monotonic()}\n")


def lives(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


@pytest.mark.slow
def test_the_schedule_fires_and_its_run_leaves_everything(
    server: tuple[Path, SyncPrefectClient],
) -> None:
    house, client = server
    log = house / ".maskloom/runs.ndjson"
    pipeline = client.read_deployment_by_name("synthesize/pipeline")
    (schedule,) = client.read_deployment_schedules(pipeline.id)
    client.update_deployment_schedule(pipeline.id, schedule.id, active=True)
    wait_for(lambda: log.exists() and "completed" in log.read_text(), 120)
    client.update_deployment_schedule(pipeline.id, schedule.id, active=False)
    entry = json.loads(log.read_text().splitlines()[0])
    run = client.read_flow_run(UUID(entry["run_id"]))
    assert run.auto_scheduled
    wait_for(lambda: state_of(client, run.id) == "Completed", 60)
    assert [stage["outcome"] for stage in entry["stages"]] == ["ran"] * 5
    tags = set(client.read_flow_run(run.id).tags)
    assert tags >= {f"revision:{entry['revision']}", f"version:{entry['version']}"}
    assert (
        subprocess.run(
            ["git", "for-each-ref", f"refs/exps/**/{entry['version']}"], cwd=house,
            capture_output=True, check=True,
        ).stdout
    )  # fmt: skip
    artifacts = client.read_artifacts(
        artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    )
    kinds = {artifact.key: artifact.type for artifact in artifacts}
    assert kinds["filter-masks-progress"] == "progress"
    assert kinds["filter-masks-outputs"] == "markdown"
    assert kinds["filter-masks-place"] == "markdown"  # a link is one to Prefect
    lines = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])), limit=200)
    assert any(line.message == "Running stage 'filter_masks':" for line in lines)


@pytest.mark.slow
def test_the_form_offers_the_stages_and_checks_them(
    server: tuple[Path, SyncPrefectClient],
) -> None:
    _, client = server
    for name in ("pipeline", "dataset", "training", "report"):
        deployment = client.read_deployment_by_name(f"synthesize/{name}")
    schema = deployment.parameter_openapi_schema
    assert "filter_masks" in schema["properties"]["upto"]["anyOf"][0]["enum"]
    assert deployment.parameters == {"only": "write_report"}
    with pytest.raises(Exception, match=r"is not one of|not valid under any"):
        start("pipeline", upto="filter_mask")


@pytest.mark.slow
def test_nobody_comes_in_without_the_password(server: tuple[Path, SyncPrefectClient]) -> None:
    _, client = server
    url = f"{client.api_url}flow_runs/filter"
    assert httpx.post(url, json={}).status_code == 401
    assert httpx.post(url, json={}, auth=("me", "secret")).status_code == 200


@pytest.mark.slow
def test_cancel_ends_the_stage_and_the_next_run_goes_on(
    server: tuple[Path, SyncPrefectClient],
) -> None:
    house, client = server
    slow_stage(house)
    start("pipeline")
    wait_for((house / "pid").exists, 120)
    stage = int((house / "pid").read_text())
    time.sleep(1)
    cancelled = running_run(client)
    client.set_flow_run_state(cancelled, Cancelling())
    assert wait_for(lambda: not lives(stage), 30) < 10
    wait_for(lambda: state_of(client, cancelled) == "Cancelled", 30)
    (house / "slow").unlink()
    run = start("dataset")
    wait_for(lambda: state_of(client, run) == "Completed", 180)
    last = json.loads((house / ".maskloom/runs.ndjson").read_text().splitlines()[-1])
    assert last["stages"][0]["outcome"] == "unchanged"


@pytest.mark.slow
def test_a_killed_flow_takes_its_stage_along_and_a_retry_goes_on(
    server: tuple[Path, SyncPrefectClient],
) -> None:
    house, client = server
    slow_stage(house)
    start("pipeline")
    wait_for((house / "pid").exists, 120)
    stage = int((house / "pid").read_text())
    run = running_run(client)
    flow = next(
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit()
        and b"prefect.engine" in read(folder / "cmdline")
        and str(run).encode() in read(folder / "environ")
    )
    os.kill(flow, signal.SIGKILL)
    assert wait_for(lambda: not lives(stage), 30) < 10
    wait_for(lambda: state_of(client, run) == "Crashed", 30)
    time.sleep(5)  # Prefect's worker says so again a second later, over whatever was set meanwhile
    (house / "slow").unlink()
    client.set_flow_run_state(run, AwaitingRetry(), force=True)
    wait_for(lambda: state_of(client, run) == "Completed", 180)
    assert (house / "e.txt").read_text() == "b"


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.slow
def test_runs_that_nobody_works_on_are_closed(server: tuple[Path, SyncPrefectClient]) -> None:
    house, client = server
    assert len(client.read_automations_by_name(DEAD_RUN_RULE.name)) == 1
    assert close_dead_runs(client) == 0
    slow_stage(house)
    start("pipeline")
    wait_for((house / "pid").exists, 120)
    run = running_run(client)
    assert close_dead_runs(client) == 1  # as at the start of a server, whose worker runs nothing
    assert state_of(client, run) == "Crashed"
