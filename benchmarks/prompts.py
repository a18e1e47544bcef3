"""A million prompts for the 919 classes of ImageNet-S: time, memory, size, and the same bytes.

Each run is a process of its own, `python -m tasks.expand_prompts`, twice with one PYTHONHASHSEED
and once with another. Reading the WordNet file into a database, once for each file, is timed apart.
It needs the class list and the WordNet below `LISTS`.
"""

import hashlib
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
from pyarrow import parquet

from benchmarks.record import RESULTS, Bar, Row, finish, what_ran

ROOT = Path(__file__).parents[1]
PRESET, IMAGES_PER_CLASS = "imagenet_s919", 1089  # 1,000,791 prompts
QUICK_PRESET, QUICK_IMAGES_PER_CLASS = "storybook", 200
HASH_SEEDS = ("1", "1", "2")
PROMPTS = Path("data/prompts.parquet")
LISTS = ROOT / "../shared/data/lists"
"""Where the class list and the WordNet of `PRESET` lie."""


def write_params(folder: Path, preset: str, images_per_class: int) -> None:
    """A preset with another budget, its files those of `LISTS`."""
    params = yaml.safe_load((ROOT / f"presets/{preset}.yaml").read_text(encoding="utf-8"))
    section = params["expand_prompts"]
    section["images_per_class"] = images_per_class
    if section["classes_file"] != "none":
        section["lexicon"] = f"wordnet:{(LISTS / 'oewn-nouns.xml.xz').resolve()}"
        section["classes_file"] = str((LISTS / "imagenet_s_919.tsv").resolve())
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def run(folder: Path, hash_seed: str, *options: str) -> tuple[float, float]:
    """Run the stage in a folder.

    Returns:
        Seconds, and the peak of its resident set in GiB, as the kernel counted it.

    Raises:
        SystemExit: it failed, and has said why.
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-m", "tasks.expand_prompts", *options]
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=env)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.monotonic() - started, usage.ru_maxrss / 2**20


def count_ids(path: Path) -> tuple[int, int]:
    """How many rows a table has, and how many of their ids stand twice."""
    ids = parquet.read_table(path, columns=["prompt_id"]).column(0).to_numpy()
    return len(ids), len(ids) - len(np.unique(ids.astype("U16")))


def main(
    *, quick: Annotated[bool, Parameter(help="some hundred prompts; writes no result")] = False
) -> None:
    """Time, memory and size of a million prompts, their ids, and the same bytes three times."""
    preset, images = (QUICK_PRESET, QUICK_IMAGES_PER_CLASS) if quick else (PRESET, IMAGES_PER_CLASS)
    with tempfile.TemporaryDirectory(prefix="maskloom-prompts-") as temporary:
        folder = Path(temporary)
        write_params(folder, preset, images)
        first = run(folder, "0", "--preview", "1")
        runs, files = [], []
        for number, hash_seed in enumerate(HASH_SEEDS):
            runs.append(run(folder, hash_seed))
            files.append((folder / PROMPTS).rename(folder / f"{number}.parquet"))
        # Looked at only now: a process counts the memory of the one that starts it into its peak.
        digests = {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
        sizes = [file.stat().st_size / 1e6 for file in files]
        count, twice = count_ids(files[0])
    rows = [_row("lexicon read for the first time", "0", *first)]
    for hash_seed, measured, size in zip(HASH_SEEDS, runs, sizes, strict=True):
        rows.append(_row(f"{count:,} prompts", hash_seed, *measured, size))
    bars = [
        Bar.at_most("peak memory, GiB", max(peak for _, peak in runs), 1.5, 3),
        Bar.at_most("ids that stand twice", twice, 0),
        Bar.at_most("different files of three runs", len(digests), 1),
    ]
    libraries = ", ".join(f"{name} {version(name)}" for name in ("wn", "inflect", "pyarrow"))
    ran = what_ran(
        preset=preset, images_per_class=images, rounds=len(HASH_SEEDS), libraries=libraries
    )
    finish("prompts", ran, rows, bars, None if quick else RESULTS)


def _row(what: str, hash_seed: str, seconds: float, peak: float, size: Any = "") -> Row:
    return {
        "what": what,
        "PYTHONHASHSEED": hash_seed,
        "seconds": round(seconds, 1),
        "peak GiB": round(peak, 3),
        "file MB": round(size, 1) if size else "",
    }


if __name__ == "__main__":
    cyclopts.run(main)
