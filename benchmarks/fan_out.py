"""Fan-out: the same shards sampled by the stage alone, by processes and by a Ray cluster.

Storybook with few steps, in a temporary copy of this repository. Ray has two nodes of one core on
this machine; once, one of them is removed in mid-run. The bytes have to be the same each time.
Where Ray is not installed (``make ray``) its rows are left out.
"""

import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from benchmarks.demo import change_params
from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from flows.fan_out import FanOut, fan_out
from flows.server import running, settings
from tasks.machine import choose_device
from tasks.params import load_params
from tasks.sample_shards import shard_jobs
from tasks.work_store import STORE, WorkStore

ROOT = Path(__file__).parents[1]
LOST = "Ray, one of two nodes removed"
BEFORE = ("preflight", "render_storybook", "expand_prompts", "adapt_lora")


def make_repository(folder: Path, images_per_class: int, steps: int) -> None:
    """A copy of this repository's files, ready to sample."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    changes: dict[str, dict[str, Any]] = {
        "render_storybook": {"train": 12, "val": 4, "test": 6},
        "expand_prompts": {"images_per_class": images_per_class},
        "sample_images": {
            "num_inference_steps": steps,
            "batch_size": 8,
            "shard_size": 8,
            "device": choose_device("auto"),  # Ray's workers are not told to find out
        },
    }
    change_params(folder, changes)
    for stage in BEFORE:
        run_stage(stage, folder)


def run_stage(stage: str, folder: Path) -> None:
    """A stage as it is, without DVC."""
    command = [sys.executable, "-m", f"tasks.{stage}"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def digests(folder: Path) -> dict[str, str]:
    """Shard -> its SHA-256, of the finished ones."""
    store = WorkStore("sample_images", folder)
    jobs = shard_jobs(load_params(folder / "params.yaml"), folder)
    found = {job.name: store.find(job.fingerprint) for job in jobs}
    return {name: finished.digest for name, finished in found.items() if finished is not None}


@contextmanager
def ray_cluster() -> Iterator[tuple[Any, Any]]:
    """A cluster of two nodes with a core each; yields it and one of the two."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        node = cluster.add_node(num_cpus=1)
        cluster.add_node(num_cpus=1)
        yield cluster, node
    finally:
        ray.shutdown()
        cluster.shutdown()


class Repetitions(logging.Handler):
    """Counts, from the flow's log, the shards that were computed again."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count the message, if it tells of a repetition."""
        self.count += "is computed again" in record.getMessage()


def with_ray(folder: Path, lose_a_node: bool) -> None:
    """Sample on two nodes; without one of them soon after the first finished shard."""
    with ray_cluster() as (cluster, node):
        how = FanOut(
            runner="ray",
            workers=2,
            address=cluster.address,
            folder=str(folder),
            runtime_env={"env_vars": {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}},
        )

        def remove() -> None:
            while len(list((folder / STORE / "sample_images").glob("*.json"))) < 1:
                time.sleep(0.1)
            cluster.remove_node(node, allow_graceful=False)

        thread = threading.Thread(target=remove, daemon=True)
        if lose_a_node:
            thread.start()
        fan_out("sample_images", how, folder)


def measure(images_per_class: int, steps: int) -> list[Row]:
    """A row for each way to sample; the first is what the others are compared with."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name, socket.socket() as probe:
        folder = Path(name)
        make_repository(folder, images_per_class, steps)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        os.environ["PREFECT_API_AUTH_STRING"] = "benchmark:benchmark"
        processes = FanOut(runner="processes", workers=2)
        ways: dict[str, Callable[[], object]] = {
            "the stage alone": lambda: run_stage("sample_images", folder),
            "two processes": lambda: fan_out("sample_images", processes, folder),
        }
        if find_spec("prefect_ray"):
            ways["Ray, two nodes"] = lambda: with_ray(folder, lose_a_node=False)
            ways[LOST] = lambda: with_ray(folder, lose_a_node=True)
        expected: dict[str, str] = {}
        repetitions = Repetitions()
        logging.getLogger("prefect.flow_runs").addHandler(repetitions)
        with running(settings(port, folder), folder):
            for way, sample in ways.items():
                shutil.rmtree(folder / STORE, ignore_errors=True)
                repetitions.count = 0
                started = time.monotonic()
                sample()
                taken = time.monotonic() - started
                found = digests(folder)
                expected = expected or found
                rows.append(
                    {
                        "way": way,
                        "shards": len(found),
                        "seconds": round(taken, 1),
                        "computed again": repetitions.count,
                        "byte-equal": found == expected,
                    }
                )
    return rows


def main(
    *, quick: Annotated[bool, Parameter(help="few images, nothing is written")] = False
) -> None:
    """Sample the same shards in several ways and compare times and bytes."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers share two cores
    images, steps = (4, 1) if quick else (24, 6)
    rows = measure(images, steps)
    equal = sum(bool(row["byte-equal"]) for row in rows)
    ran = what_ran(
        seeds="as in params.yaml",
        rounds="1",
        images=f"8 classes, {images} each, {steps} steps, shards of 8",
        threads="one for each worker; the times of Ray hold its start",
    )
    bars = [Bar.at_least("ways with equal bytes", equal, len(rows))]
    if rows[-1]["way"] == LOST and not quick:
        again = float(rows[-1]["computed again"])
        bars.append(Bar.at_least("shards in hand on the removed node", again, 1))
    finish("fan_out", ran, rows, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
