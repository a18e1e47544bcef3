"""`explain` and `diff` on a million samples: seconds and peak memory of whole processes.

Two committed states of a repository are made, as `dvc repro` would leave them but with next to no
image behind the rows: in the second, some samples came, some went, some have another image, label
or verdict. One rule asks for a quantile, which `explain` finds over all scores. What `diff` counts
and that bound are compared with what was put in. Each command is a fresh process, so that start and
imports count.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import yaml
from cyclopts import Parameter

from benchmarks.lineage_state import commit, record, start
from benchmarks.lineage_tables import CLASSES, changed, ids, margins, write_state
from benchmarks.record import RESULTS, Bar, Row, finish, what_ran

ROOT = Path(__file__).parents[1]
SAMPLES, QUICK_SAMPLES = 1_000_000, 20_000
ROUNDS = 3
NEW, GONE = 0.01, 0.02
"""Shares of the samples that only the second state has, or only the first."""
RULE, QUANTILE = "min_margin", 0.05
"""The rule of ``filter_masks`` whose bound is a quantile of a class's margins."""
MOST_SECONDS, MOST_GB = 3.0, 1.0


def build(root: Path, count: int) -> None:
    """Commit both states, and write what there is to find out of them to ``expected.json``."""
    start(root)
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    params["filter_masks"][RULE] = {"quantile": QUANTILE}
    (root / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    first, second = np.arange(count), np.arange(int(count * NEW), int(count * (1 + NEW)))
    second = second[~changed("gone", second, GONE) | (second >= count)]
    write_state(root, first, later=False)
    record(root)
    commit(root, "first")
    differ = write_state(root, second, later=True)
    shared = second < count
    expected = {
        "added": int((~shared).sum()),
        "removed": count - int(shared.sum()),
        **{f"changed_{kind}": int(rows[shared].sum()) for kind, rows in differ.items()},
        "changed": int(np.logical_or.reduce(list(differ.values()))[shared].sum()),
    }
    record(root)
    commit(root, "second")
    of_its_class = second[second % len(CLASSES) == second[-1] % len(CLASSES)]
    found = {
        "diff": expected,
        "sample": ids("sample", rows=second[-1:])[0],
        "bound": float(np.quantile(margins(of_its_class), QUANTILE)),
    }
    (root / "expected.json").write_text(json.dumps(found))


def run(root: Path, *arguments: str) -> tuple[float, float, float, Any]:
    """Run ``python -m tasks.lineage``.

    Returns:
        Seconds, seconds of CPU, peak of the resident set in GB, and the JSON that it printed.

    Raises:
        SystemExit: it failed, and has said why.
    """
    command = [sys.executable, "-m", "tasks.lineage", *arguments, "--json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=root, env=env, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(process.returncode)
        output.seek(0)
        cpu = usage.ru_utime + usage.ru_stime
        return seconds, cpu, usage.ru_maxrss * 1024 / 1e9, json.load(output)


def main(
    *, quick: Annotated[bool, Parameter(help="20,000 samples; writes no result")] = False
) -> None:
    """Time and memory of `explain` and `diff`, and whether `diff` counts what was put in."""
    count, rounds = (QUICK_SAMPLES, 1) if quick else (SAMPLES, ROUNDS)
    with tempfile.TemporaryDirectory(prefix="maskloom-lineage-") as temporary:
        root = Path(temporary)
        # In a process of its own: the memory of the one that starts another counts into its peak.
        builder = multiprocessing.get_context("spawn").Process(target=build, args=(root, count))
        builder.start()
        builder.join()
        if builder.exitcode:
            raise SystemExit(builder.exitcode)
        expected = json.loads((root / "expected.json").read_text())
        size = sum(file.stat().st_size for file in root.glob("data/**/*.parquet"))
        commands = {
            "explain": ("explain", expected["sample"]),
            "explain, by 12 digits": ("explain", expected["sample"][:12]),
            "diff": ("diff", "HEAD~1", "HEAD"),
        }
        rows: list[Row] = []
        wrong = 0
        for name, arguments in commands.items():
            measured = [run(root, *arguments) for _ in range(rounds)]
            answer = measured[-1][3]
            if name == "diff":
                counts = {key: answer["samples"][key] for key in expected["diff"]}
                wrong += counts != expected["diff"]
            else:
                wrong += answer["sample_id"] != expected["sample"]
                bounds = [rule["bound"] for rule in answer["rules"] if rule["rule"] == RULE]
                wrong += not np.allclose(bounds, [expected["bound"]], rtol=0, atol=1e-9)
            seconds, cpu, peaks = ([one[at] for one in measured] for at in range(3))
            rows.append(
                {
                    "command": name,
                    "samples": f"{count:,}",
                    "median s": round(float(np.median(seconds)), 2),
                    "worst s": max(seconds),
                    "CPU s": round(float(np.median(cpu)), 2),
                    "peak GB": max(peaks),
                }
            )
    bars = [
        Bar.at_most("worst seconds", max(float(row["worst s"]) for row in rows), MOST_SECONDS, 2),
        Bar.at_most("peak memory, GB", max(float(row["peak GB"]) for row in rows), MOST_GB, 3),
        Bar.at_most("wrong answers", wrong, 0),
    ]
    libraries = f"pyarrow {version('pyarrow')}"
    ran = what_ran(
        rounds=rounds, libraries=libraries, manifests=f"{size / 1e6:.0f} MB of parquet a state"
    )
    finish("lineage", ran, rows, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
