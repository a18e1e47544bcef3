"""The flow ``synthesize``: class names to a measured segmentation network, one task per stage.

The order of the stages is that of ``dvc.yaml``, and DVC decides what there is to do: a task runs
``dvc repro --single-item`` in a process of its own. ``dvc repro`` alone gives the same bytes;
Prefect adds logs, retries, a schedule, cancellation and artifacts. Works with a server
(``PREFECT_API_URL``) and without one.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import cyclopts
from cyclopts import Parameter
from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Completed, Failed
from pydantic import ValidationError
from rich.console import Console

from flows.artifacts import ProgressBar, leave_results
from flows.fan_out import SHARDED, FanOut, ShardsFailed
from flows.fan_out import fan_out as compute_shards
from flows.graph import (
    StageName,
    check_inputs,
    select_stages,
    stage_names,
    unchanged_stages,
)
from flows.processes import exit_on_signals, run_in_group
from flows.results import (
    EVALUATION,
    FILTER,
    REPORT,
    Outcome,
    StageRun,
    adaptation_sentence,
    funnel_rows,
    read_evaluation,
    result_rows,
    result_view,
    stages_markdown,
)
from flows.run_log import append_run, now, only_run, revision
from flows.stage_output import StageFailed, StageOutput
from flows.temporary_server import own_temporary_server
from flows.versions import keep
from tasks.machine import SAMPLED_ELSEWHERE
from tasks.params import InputError
from tasks.version import project_version


def child_environment(elsewhere: bool = False) -> dict[str, str]:
    """The stages' environment: this interpreter first on the path, output unbuffered.

    Args:
        elsewhere: whether other machines sample, so that this one need not have their device.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    told = {SAMPLED_ELSEWHERE: "1"} if elsewhere else {}
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", **told}


def _worth_retrying(_task: Any, _run: Any, state: State) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, StageFailed) and error.worth_retrying


@task(
    task_run_name="{stage}",
    cache_policy=NO_CACHE,  # DVC alone decides what is done already
    persist_result=False,
    retries=1,
    retry_delay_seconds=10,
    retry_condition_fn=_worth_retrying,
)
def reproduce(stage: str, force: bool, idle: bool, elsewhere: bool = False) -> Outcome:
    """Run one stage through DVC, its output into this task's log; not when it is known as ``idle``.

    Raises:
        StageFailed: the stage or DVC failed.
    """
    log, output = get_run_logger(), StageOutput()
    if idle:
        log.info("nothing to do")
        return "unchanged"
    clock = time.monotonic()
    progress = ProgressBar(stage)

    def tell(line: str) -> None:
        if (text := output.read(line)) is not None:
            log.info("%s", text)
            progress.read(text)

    command = [sys.executable, "-m", "dvc", "repro", "--single-item", stage]
    status = run_in_group(command + ["--force"] * force, tell, child_environment(elsewhere))
    if status:
        raise StageFailed(stage, output.exit_status or status, output.last_words)
    progress.move(100.0)
    if output.outcome != "unchanged":
        leave_results(StageRun(stage, output.outcome, time.monotonic() - clock))
    return output.outcome


@flow(name="synthesize")
def synthesize(
    only: StageName | None = None,
    upto: StageName | None = None,
    force: bool = False,
    start: StageName | None = None,
    fan_out: FanOut | None = None,
) -> State:
    """Run the stages of ``dvc.yaml`` in order and leave the result as artifacts.

    Args:
        only: run just this stage.
        upto: run the stages up to and with this one.
        start: run the stages from this one on.
        force: run them even where nothing changed.
        fan_out: where shards are computed; None: in the stages themselves.

    Returns:
        The final state; a failed one carries the `StageFailed` or `InputError`.
    """
    runs: list[StageRun] = []
    try:
        stages = select_stages(stage_names(), only, upto, start)
        check_inputs(stages)
        with only_run():
            _run_stages(stages, force, runs, fan_out or FanOut())
    except (InputError, StageFailed, ShardsFailed) as error:
        return Failed(message=str(error).partition("\n")[0], data=error)
    finally:
        if runs and runs[-1].outcome != "cancelled":
            create_markdown_artifact(
                stages_markdown(runs), key="synthesize-stages", description="outcomes and times"
            )
    if "evaluate_segmenter" in stages and (evaluation := read_evaluation()):
        create_table_artifact(
            result_rows(evaluation),
            key="synthesize-result",
            description="\n\n".join(filter(None, [f"IoU, {EVALUATION}", adaptation_sentence()])),
        )
    if "filter_masks" in stages and FILTER.exists():
        create_table_artifact(funnel_rows(), key="synthesize-funnel", description=str(FILTER))
    if "write_report" in stages and REPORT.exists():
        link = REPORT.resolve().as_uri()
        create_link_artifact(link, link_text=str(REPORT), key="synthesize-report")
    return Completed(message=f"{len(runs)} stages in {sum(run.seconds for run in runs):.0f} s")


def _run_stages(stages: list[str], force: bool, runs: list[StageRun], how: FanOut) -> None:
    """Run ``stages``, noting each in ``runs``, and write the run log however it ends.

    Args:
        how: where shards are computed before the stage that they belong to.

    After the first, which checks the inputs, DVC is asked once which have nothing to do; that holds
    for the next ones until one of them has run.
    """
    started = now()
    idle: set[str] = set()
    try:
        for stage in stages:
            if len(runs) == 1 and not force:
                idle = unchanged_stages(stages[1:], child_environment())
            clock = time.monotonic()
            outcome: Outcome = "cancelled"
            try:
                if how.runner != "none" and stage in SHARDED and stage not in idle:
                    compute_shards(stage, how)
                outcome = reproduce(stage, force, stage in idle, how.runner == "ray")
                if runs and outcome != "unchanged":
                    idle = set()
            except (InputError, StageFailed, ShardsFailed):
                outcome = "failed"
                raise
            finally:
                runs.append(StageRun(stage, outcome, time.monotonic() - clock))
    finally:
        last = runs[-1].outcome if runs else "unchanged"
        state = last if last in ("failed", "cancelled") else "completed"
        run_id = str(runtime.flow_run.id)
        version = _keep(run_id) if state == "completed" else None
        append_run(run_id, started, state, runs, version=version)
        if version:
            _tag_run(version)


def _keep(run_id: str) -> str | None:
    """Keep the run as a version; a full disk or git's refusal takes nothing from the run itself."""
    try:
        return keep(run_id, now())
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or error
        get_run_logger().warning("the run is not kept as a version: %s", str(said).strip())
        return None


def _tag_run(version: str) -> None:
    """Name the code's revision and the kept version on the run, for the server's search."""
    tags = {*runtime.flow_run.tags, f"revision:{revision()}", f"version:{version}"}
    with get_client(sync_client=True) as client:
        client.update_flow_run(runtime.flow_run.id, tags=sorted(tags))


def main(
    *,
    only: Annotated[str | None, Parameter(help="run just this stage")] = None,
    upto: Annotated[str | None, Parameter(help="run the stages up to and with this one")] = None,
    start: Annotated[str | None, Parameter(help="run the stages from this one on")] = None,
    force: Annotated[
        bool, Parameter(help="run them even where nothing changed", negative="")
    ] = False,
    fan_out: FanOut | None = None,
) -> None:
    """Run the pipeline through Prefect: class names in, a measured segmentation network out."""
    exit_on_signals()
    try:
        select_stages(stage_names(), only, upto, start)
        own_temporary_server()
        state = synthesize(only, upto, force, start, fan_out, return_state=True)
    except KeyboardInterrupt:
        _stop("Stopped. Finished stages are kept; the next run goes on from there.", 130)
    except InputError as error:
        _stop(error)
    except RuntimeError as error:
        if not str(error).startswith("Failed to reach API"):
            raise
        _stop(f"{error}: start that Prefect server, or unset PREFECT_API_URL to run without one")
    except PrefectHTTPStatusError as error:
        if error.response.status_code != 401:
            raise
        _stop(
            f"{error.request.url.host}: the Prefect server asks for a name and password; "
            "give its own, export PREFECT_API_AUTH_STRING=NAME:PASSWORD"
        )
    if not state.is_completed():
        _stop(state.result(raise_on_failure=False))
    console = Console()
    evaluation = read_evaluation()
    if evaluation:
        console.print(result_view(evaluation, adaptation_sentence()))
    if REPORT.exists():
        console.print(f"Report: {REPORT.resolve()}", soft_wrap=True)


def _stop(message: object, status: int = 1) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(status) from None


def _wrong_option(error: cyclopts.CycloptsError) -> object:
    """A value against a rule of `FanOut`, in a line; other errors as Cyclopts tells them."""
    if not isinstance(error.__cause__, ValidationError):
        return cyclopts.CycloptsPanel(error)
    wrong = error.__cause__.errors()[0]
    option = "-".join(str(wrong["loc"][0]).split("_"))
    rule = wrong["msg"].replace("Input should", "has to")
    return f"--fan-out.{option}: {wrong['input']!r} is not allowed; it {rule}"


app = cyclopts.App(
    name="python -m flows.synthesize",
    help=main.__doc__,
    version=project_version,
    error_formatter=_wrong_option,
)
app.default(main)

if __name__ == "__main__":
    app()
