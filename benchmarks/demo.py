"""How long ``make demo`` takes once installed, and how much memory.

It runs in a temporary clone of the committed state, with this environment; then the same with
nothing to do, and `dvc repro` alone. Memory is the sum of the resident sets of all its processes,
sampled twice a second: pages that they share count more than once.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import psutil
import yaml
from cyclopts import Parameter

from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from tasks.run_records import read_runs

ROOT = Path(__file__).parents[1]
MAKE_DEMO = ["make", "--assume-old=.venv/.installed", "demo"]  # this environment, as it is
SAMPLE_SECONDS = 0.5
IDLE_ROUNDS = 3

QUICK: dict[str, dict[str, Any]] = {
    "render_storybook": {"train": 12, "val": 4, "test": 6},
    "expand_prompts": {"images_per_class": 2},
    "sample_images": {"num_inference_steps": 4, "batch_size": 16, "shard_size": 4},
    "filter_masks": {
        "min_area": 0.0,
        "max_area": 1.0,
        "min_peak": 0.0,
        "min_margin": 0.0,
        "max_dark": None,
        "min_contrast": None,
        "val_share": 0.3,
    },
    "train_segmenter": {"iterations": 4, "batch_size": 4, "checkpoint_interval": 2},
    "write_report": {"gallery": 4},
}
"""Parameters with which every stage works, and nothing is learnt."""


def change_params(folder: Path, changes: dict[str, dict[str, Any]]) -> None:
    """Set keys in a clone's ``params.yaml``, section by section."""
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, values in changes.items():
        params[name] |= values
    path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def measure(command: list[str], folder: Path, env: dict[str, str]) -> tuple[float, float]:
    """Run a command to its end.

    Returns:
        Seconds, and the peak of its and its descendants' summed resident sets in GiB.

    Raises:
        CalledProcessError: it failed.
    """
    started, peak = time.monotonic(), 0
    with psutil.Popen(command, cwd=folder, env=env) as process:
        while process.poll() is None:
            peak = max(peak, _resident([process, *_descendants(process)]))
            time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.monotonic() - started, peak / 2**30


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        children: list[psutil.Process] = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return children


def _resident(processes: Iterable[psutil.Process]) -> int:
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def main(
    *,
    quick: Annotated[bool, Parameter(help="the smallest parameters; writes no result")] = False,
    keep: Annotated[Path | None, Parameter(help="a new folder in which the clone stays")] = None,
) -> None:
    """Time and peak memory of the demo, and the time of runs with nothing to do."""
    with tempfile.TemporaryDirectory(prefix="maskloom-demo-") as temporary:
        folder = keep or Path(temporary) / "maskloom"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        (folder / ".venv").symlink_to(ROOT / ".venv")
        if quick:
            change_params(folder, QUICK)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        env = {**os.environ, "PATH": path, "PREFECT_HOME": str(Path(temporary) / "prefect")}
        seconds, peak = measure(MAKE_DEMO, folder, env)
        stages = next(read_runs(folder))["stages"]
        again, _ = measure(MAKE_DEMO, folder, env)
        idle = [measure(["dvc", "repro"], folder, env)[0] for _ in range(IDLE_ROUNDS)]
    rows: list[Row] = [{"what": run["stage"], "seconds": run["seconds"]} for run in stages]
    rows += [
        {"what": "make demo", "seconds": round(seconds, 1)},
        {"what": "make demo with nothing to do", "seconds": round(again, 1)},
        {"what": "dvc repro with nothing to do", "seconds": round(sorted(idle)[1], 1)},
    ]
    bars = [
        Bar.at_most("make demo, minutes", seconds / 60, 12, 2),
        Bar.at_most("peak memory, GiB", peak, 6, 2),
        Bar.at_most("dvc repro with nothing to do, median seconds", sorted(idle)[1], 5, 1),
    ]
    ran = what_ran(seeds="as in params.yaml", rounds=f"1 demo, {IDLE_ROUNDS} with nothing to do")
    finish("demo", ran, rows, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
