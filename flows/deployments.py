"""What a Prefect server has to know of this repository: pool, deployments, rule for dead runs.

Everything here may be done again: what is there already is brought up to date.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.states import Crashed
from prefect.workers.process import ProcessWorker

from tasks.params import InputError

POOL = "maskloom"
HEARTBEAT_SECONDS = 30
"""How often a run tells that it lives; Prefect allows no less."""
DEAD_AFTER = timedelta(seconds=4 * HEARTBEAT_SECONDS)
"""Silence after which a run counts as crashed: its machine or its worker is gone."""
DEAD_RUN_MESSAGE = (
    "No sign of life: the process, its worker or its machine is gone. A retry goes on from the "
    "finished stages."
)

DEAD_RUN_RULE = AutomationCore(
    name="maskloom: silent runs have crashed",
    description="A run whose heartbeat stops is marked as crashed, and frees its place.",
    trigger=EventTrigger(
        after={"prefect.flow-run.heartbeat"},
        expect={
            "prefect.flow-run.heartbeat",
            "prefect.flow-run.Completed",
            "prefect.flow-run.Failed",
            "prefect.flow-run.Cancelled",
            "prefect.flow-run.Crashed",
        },
        match={"prefect.resource.id": "prefect.flow-run.*"},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=DEAD_AFTER,
    ),
    actions=[
        ChangeFlowRunState(
            name=None,
            force=False,
            state=StateType.CRASHED,
            message=DEAD_RUN_MESSAGE,
        )
    ],
)


def create_pool(client: SyncPrefectClient) -> None:
    """The work pool of this repository. It runs one flow at a time, as runs share the folder."""
    client.create_work_pool(
        WorkPoolCreate(
            name=POOL,
            type=ProcessWorker.type,
            description="Runs work in one folder: one at a time, a second one waits.",
            base_job_template=ProcessWorker.get_default_base_job_template(),
            concurrency_limit=1,
        ),
        overwrite=True,
    )


def create_dead_run_rule(client: SyncPrefectClient) -> None:
    """The automation `DEAD_RUN_RULE`, once, and as it is here."""
    found = client.read_automations_by_name(DEAD_RUN_RULE.name)
    if found:
        client.update_automation(found[0].id, DEAD_RUN_RULE)
    else:
        client.create_automation(DEAD_RUN_RULE)


def close_dead_runs(client: SyncPrefectClient) -> int:
    """Mark the pool's runs under way as crashed: before its worker starts, none can be alive.

    Returns:
        How many there were.
    """
    under_way = FlowRunFilterState(
        type=FlowRunFilterStateType(
            any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
        )
    )
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=under_way),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
    )
    for run in runs:
        client.set_flow_run_state(run.id, Crashed(message=DEAD_RUN_MESSAGE), force=True)
    return len(runs)


def deploy(root: Path, env: Mapping[str, str]) -> None:
    """Create the deployments of ``root``'s ``prefect.yaml``.

    Args:
        env: names the server, see `flows.server`.

    Raises:
        InputError: Prefect refused them.
    """
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    answer = subprocess.run(
        command,
        cwd=root,
        env={**env, "PWD": os.fspath(root.resolve())},  # prefect.yaml asks for it
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise InputError(f"prefect.yaml: no deployment was made\n{answer.stdout}{answer.stderr}")
