"""What Prefect costs a stage: the flow, reporting to a server, against ``dvc repro`` alone.

The pipeline's stages do nothing, in a temporary repository with this one's settings. The server is
that of ``make server``, on loopback. Rounds alternate; the table holds medians.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import cyclopts
import yaml
from cyclopts import Parameter

from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from flows.graph import stage_names
from flows.server import running, settings

ROOT = Path(__file__).parents[1]
STAGES = stage_names(ROOT)
"""Those of this repository, as its deployments name some of them."""
BOUND_SECONDS = 3.0
FLOW = [sys.executable, "-m", "flows.synthesize"]
DVC = [sys.executable, "-m", "dvc", "repro", "--quiet"]


def make_repository(folder: Path) -> None:
    """A chain of stages, each of which writes a byte."""
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", "pyproject.toml", "prefect.yaml"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    (folder / "flows").symlink_to(ROOT / "flows")
    (folder / "tasks").symlink_to(ROOT / "tasks")
    (folder / ".gitignore").write_text("/.maskloom/\n")
    stages = {
        stage: {"cmd": f"cp {before} {stage}", "deps": [before], "outs": [stage]}
        for before, stage in pairwise(["start", *STAGES])
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    (folder / "start").write_text("0")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "-qm", "chain"]):
        subprocess.run(["git", *command], cwd=folder, check=True)


def seconds(command: list[str], folder: Path, env: dict[str, str]) -> float:
    """How long a command takes.

    Raises:
        RuntimeError: it failed.
    """
    started = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return time.monotonic() - started


def measure(rounds: int) -> list[Row]:
    """Medians of all stages running, and of none having anything to do."""
    taken: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as name, socket.socket() as probe:
        folder = Path(name)
        make_repository(folder)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        os.environ["PREFECT_API_AUTH_STRING"] = "benchmark:benchmark"
        env = settings(port, folder)
        with running(env, folder):
            for number in range(rounds):
                for what, command in (("dvc repro", DVC), ("flow", FLOW)):
                    (folder / "start").write_text(f"{what} {number}")
                    for work in ("every stage runs", "nothing to do"):
                        taken.setdefault((work, what), []).append(seconds(command, folder, env))
    rows: list[Row] = []
    for work in ("every stage runs", "nothing to do"):
        alone, flow = (statistics.median(taken[work, what]) for what in ("dvc repro", "flow"))
        rows.append(
            {
                "what": work,
                "dvc repro, s": round(alone, 2),
                "flow with server, s": round(flow, 2),
                "more per stage, s": (flow - alone) / len(STAGES),
            }
        )
    return rows


def main(
    *, quick: Annotated[bool, Parameter(help="one round, nothing is written")] = False
) -> None:
    """Measure what the flow and its server add to each stage."""
    rounds = 1 if quick else 3
    rows = measure(rounds)
    bars = [
        Bar.at_most(f"{row['what']}: more per stage, s", float(row["more per stage, s"]), bound, 3)
        for row, bound in zip(rows, (BOUND_SECONDS, BOUND_SECONDS), strict=True)
    ]
    ran = what_ran(seeds="none", rounds=f"{rounds}, alternating, medians", stages=len(STAGES))
    finish("prefect", ran, rows, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
