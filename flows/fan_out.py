"""Fan-out: the shards that a stage still lacks, computed by several workers into the work store.

The stage itself then finds everything done. A shard is one task, never an image. A shard whose
worker died or whose code failed is computed again, elsewhere where there is another worker; one
that fails again and again is named with its samples, and the others are finished first. Where a
shard is computed makes no difference to its bytes, on machines of a kind.
"""

import importlib
import pickle
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.utilities.annotations import quote
from pydantic import BaseModel, ConfigDict, Field

from flows import shard_workers
from flows.shard_workers import Workers, slot_name
from tasks.in_use import write_in_use
from tasks.machine import choose_device, gpu_count
from tasks.params import InputError, Params, load_params
from tasks.service_checks import silent
from tasks.work_store import Shard, WorkStore

SHARDED = {
    "sample_images": ("tasks.sample_shards", "tasks.sample_images"),
    "extract_masks": ("tasks.mask_shards", "tasks.extract_masks"),
}
"""The stages that have shards: the modules that plan them and that compute them."""

RAY_NAMES = ("num_cpus", "num_gpus", "memory")
"""What Ray knows by itself; other names are those that a node was started with."""


class FanOut(BaseModel):
    """Where the shards of sampling and masks are computed."""

    model_config = ConfigDict(extra="forbid")

    runner: Literal["none", "threads", "processes", "ray"] = Field(
        default="none",
        description="none: in the stage itself; threads of the flow; processes, one per GPU; ray: "
        "a Ray cluster",
    )
    workers: int = Field(
        default=1,
        ge=1,
        description="threads or processes, at most one per GPU; for ray, shards at a time",
    )
    retries: int = Field(default=2, ge=0, description="how often a failed shard is computed again")
    address: str | None = Field(
        default=None,
        description="of the Ray cluster, such as ray://head:10001; none: one on this machine",
    )
    resources: dict[str, float] = Field(
        default_factory=lambda: {"num_cpus": 1.0},
        description="what a shard takes of the Ray cluster, such as num_gpus: 1",
    )
    runtime_env: dict[str, Any] = Field(
        default_factory=dict,
        description="Ray's runtime environment of the workers, such as working_dir or env_vars",
    )
    folder: str = Field(default=".", description="the repository as Ray's workers see it")


class ShardsFailed(Exception):
    """Some shards could not be computed; the others are in the work store."""


@dataclass
class _Attempt:
    job: Any
    number: int = 0


@task(task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def compute_here(name: str, job: Any, workers: Workers, store: WorkStore) -> None:
    """A shard by a worker of this machine, into the store."""
    store.put(job.fingerprint, workers.compute(job))


@task(task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def compute_away(name: str, job: bytes, module: str, folder: str) -> Shard:
    """A shard on another machine, from its pickled job; its bytes come back."""
    return shard_workers.compute(module, pickle.loads(job), Path(folder), None)


def fan_out(stage: str, how: FanOut, root: Path = Path()) -> int:
    """Compute the shards that ``stage`` lacks.

    Returns:
        How many were computed.

    Raises:
        InputError: Ray or its server is not there, or the stage's inputs are not.
        ShardsFailed: some could not be computed.
    """
    runner: TaskRunner[Any] = (
        _ray_runner(how) if how.runner == "ray" else ThreadPoolTaskRunner(how.workers)
    )
    computed: int = fill_store.with_options(task_runner=runner)(stage, how, root)
    return computed


@flow(name="fan-out", flow_run_name="{stage}", validate_parameters=False)
def fill_store(stage: str, how: FanOut, root: Path) -> int:
    """`fan_out` inside of its runner."""
    params, store = load_params(root / "params.yaml"), WorkStore(stage, root)
    plan, module = SHARDED[stage]
    shard_jobs = importlib.import_module(plan).shard_jobs
    planned = (job.fingerprint for job in shard_jobs(params, root))
    write_in_use(stage, stage, planned, root)  # so that pruning leaves alone what is computed here
    todo = (_Attempt(job) for job in store.missing(shard_jobs(params, root)))
    devices = _devices(params, how) if stage == "sample_images" else [None] * how.workers
    own_processes = how.runner == "processes"
    with _ray_resources(how), Workers(module, root, devices, own_processes, _slot) as workers:

        def start(job: Any) -> PrefectFuture[Any]:
            if how.runner != "ray":
                arguments: list[Any] = [quote(job), quote(workers), quote(store)]
                return compute_here.submit(job.name, *arguments)
            travelling = job.with_data(root) if stage == "extract_masks" else job
            return compute_away.submit(job.name, pickle.dumps(travelling), module, how.folder)

        return _compute_all(todo, start, store, how)


def _compute_all(todo: Iterator[_Attempt], start: Any, store: WorkStore, how: FanOut) -> int:
    """Keep twice as many shards under way as there are workers; collect them in their order."""
    log = get_run_logger()
    under_way: deque[tuple[_Attempt, PrefectFuture[Any]]] = deque()
    failed: list[tuple[Any, BaseException]] = []
    again: deque[_Attempt] = deque()
    computed = 0
    while True:
        while len(under_way) < 2 * how.workers:
            attempt = next(todo, None) or (again.popleft() if again else None)
            if attempt is None:
                break
            under_way.append((attempt, start(attempt.job)))
        if not under_way:
            break
        attempt, future = under_way.popleft()
        try:
            answer = future.result(raise_on_failure=False)
        except Exception as error:  # Ray raises for a lost node all the same
            answer = error
        if isinstance(answer, Shard):
            store.put(attempt.job.fingerprint, answer)
        if not isinstance(answer, BaseException):
            computed += 1
            log.info("%s: %d shards computed", attempt.job.name, computed)
        elif attempt.number < how.retries and not isinstance(answer, InputError):
            log.warning("%s is computed again: %s", attempt.job.name, _last_line(answer))
            again.append(_Attempt(attempt.job, attempt.number + 1))
        else:
            failed.append((attempt.job, answer))
    if failed:
        raise ShardsFailed("\n".join([_counted(computed, failed), *map(_told, failed)]))
    return computed


def _counted(computed: int, failed: list[tuple[Any, BaseException]]) -> str:
    return (
        f"{len(failed)} shards could not be computed; {computed} others were, and are kept. The "
        "next run tries again:"
    )


def _told(failure: tuple[Any, BaseException]) -> str:
    job, error = failure
    return f"{job.name} (samples {', '.join(job.ids)}): {_last_line(error)}"


def _last_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def _devices(params: Params, how: FanOut) -> list[str | None]:
    """The device of each worker: GPU after GPU, or as the parameters say.

    Raises:
        InputError: there are more workers than GPUs, or it is left open what Ray's machines compute
            on.
    """
    if how.runner == "ray":
        if params.sample_images.device == "auto":
            raise InputError(
                "sample_images.device: auto is what this machine has, and with fan_out.runner: ray "
                "others compute; set it to what these have, cuda or cpu"
            )
        return [None] * how.workers
    device = choose_device(params.sample_images.device)
    if device == "cpu":
        return [None] * how.workers
    gpus = [f"cuda:{number}" for number in range(gpu_count())] if device == "cuda" else [device]
    if how.workers > len(gpus):
        raise InputError(
            f"fan_out.workers: {how.workers} is more than the {len(gpus)} GPUs of "
            f"sample_images.device: {params.sample_images.device}, and each takes one; give at "
            f"most {len(gpus)}"
        )
    return [*gpus[: how.workers]]


def _slot(device: str | None) -> AbstractContextManager[Any]:
    """One shard per GPU, whatever else runs on it, as far as the server knows of it."""
    if device is None or not PREFECT_API_URL.value():
        return nullcontext()
    name = slot_name(device)
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(name, 1)
    return concurrency(name, occupy=1)


def _ray_runner(how: FanOut) -> TaskRunner[Any]:
    if not PREFECT_API_URL.value():
        raise InputError(
            "fan_out.runner: ray needs a Prefect server, as its workers report to it; `make server`"
            " starts one, export PREFECT_API_URL names it"
        )
    try:
        from prefect_ray import RayTaskRunner
    except ImportError:
        raise InputError("fan_out.runner: ray is not installed; `make ray` installs it") from None
    if how.address:
        _answers(how.address)
    init: dict[str, Any] = {"runtime_env": how.runtime_env} if how.runtime_env else {}
    runner: TaskRunner[Any] = RayTaskRunner(how.address, init)
    return runner


def _ray_resources(how: FanOut) -> AbstractContextManager[Any]:
    """What each shard asks of Ray. A lost one is started again here, so Ray shall not do it too."""
    if how.runner != "ray":
        return nullcontext()
    from prefect_ray.context import remote_options

    named = {key: how.resources[key] for key in RAY_NAMES if key in how.resources}
    others = {key: value for key, value in how.resources.items() if key not in RAY_NAMES}
    options: AbstractContextManager[Any] = remote_options(**named, resources=others, max_retries=0)
    return options


def _answers(address: str) -> None:
    problem = silent(address)
    if problem:
        raise InputError(
            f"fan_out.address: nothing answers at {address!r} ({problem}); give the head node's, "
            "such as ray://head:10001, or leave it out for a cluster on this machine"
        )
