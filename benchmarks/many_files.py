"""What DVC makes of many samples: in shards, and as loose files; and what their manifests take.

The stages ``sample_images`` and ``extract_masks`` write their outputs with nothing but the networks
taken out: images and masks have 8x8 pixels and next to nothing in them. Their memory is what their
process comes to hold above what it held with the libraries loaded: plan, work store, index (Linux).

Then the samples are an output of DVC, once as these shards with their index, once as two files
each, and DVC is asked again when there is nothing to do: the median of some rounds.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import cyclopts
import numpy as np
import yaml
from cyclopts import Parameter

from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from tasks import extract_masks, records, sample_images
from tasks.captures import Captured
from tasks.masks import Mask
from tasks.params import Params
from tasks.progress import progress
from tasks.shards import Member

ROOT = Path(__file__).parents[1]
SHARD = 500
MEGABYTE = 2**20
FORMS = ("shards", "loose files")
PIPELINE = {
    "stages": {"samples": {"cmd": "cp -rl made samples", "deps": ["made"], "outs": ["samples"]}}
}


def write_inputs(root: Path, samples: int) -> Params:
    """What the stages read: prompts of a hundred classes."""
    raw = yaml.safe_load((ROOT / "presets/storybook.yaml").read_text(encoding="utf-8"))
    names = [f"class {number}" for number in range(100)]
    raw["expand_prompts"] |= {"classes": names}
    raw["sample_images"] |= {"batch_size": 100, "shard_size": SHARD, "device": "cpu"}
    params = Params.model_validate(raw)
    rows = (
        {
            "prompt_id": f"{number:016x}",
            "seed": number,
            "text": f"a {name} on grass, number {number}",
            "negative_prompt": "",
            "classes": [
                {
                    "name": name,
                    "phrase": name,
                    "start": 2,
                    "end": 2 + len(name),
                    "relation": "plain",
                    "depth": 0,
                    "synset": "",
                }
            ],
            "source": "templates",
            "template": "a {} on grass",
            "caption_id": None,
        }
        for number in range(samples)
        for name in (names[number * len(names) // samples],)
    )
    records.write_rows(root / "data/prompts.parquet", rows, records.PROMPTS)
    records.write_json(root / "data/inputs/model.json", {"digest": "none"})
    records.write_json(root / "models/lora/adapter.json", {"source": "none", "digest": None})
    return params


def _plain_batch(_pipeline: Any, _section: Any, rows: list[Any]) -> Any:
    """Images and maps that hold the row's number: no two are the same file."""
    seeds = np.array([row["seed"] for row in rows])
    images = np.zeros((len(rows), 8, 8, 3), np.uint8)
    maps = np.zeros((len(rows), 1, 4, 4), np.float16)
    for digit in range(3):
        images[:, 0, digit, 0] = maps[:, 0, 0, digit] = seeds // 256**digit % 256
    return images, [Captured({("middle", (4, 4)): each}) for each in maps]


def _plain_masks(job: Any, _root: Path) -> list[Mask]:
    label = np.zeros((8, 8), np.uint8)
    return [
        Mask(
            label=label,
            reliability=label,
            entropy=0.4,
            classes=[{"name": names[0], "area": 0.1, "peak": 0.2, "margin": 0.3}],
        )
        for names in job.names
    ]


def _without_networks(name: str, params: Params, root: Path, out: Any) -> None:
    """In a process of its own: a stage; sends the bytes that it came to hold."""
    stand_ins: dict[str, tuple[Any, dict[str, Any]]] = {
        "sample_images": (
            sample_images,
            {
                "check_worker": lambda *_: None,
                "load_pipeline": lambda *_: None,
                "sample_batch": _plain_batch,
            },
        ),
        "extract_masks": (extract_masks, {"extract_shard": _plain_masks}),
    }
    stage, functions = stand_ins[name]
    for what, function in functions.items():
        setattr(stage, what, function)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from what there is now
    before = _resident("VmRSS")
    stage.run(params, root)
    out.send(_resident("VmHWM") - before)


def _resident(key: str) -> int:
    """Bytes of this process's resident set: VmRSS now, VmHWM at its peak."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def make_samples(samples: int, root: Path) -> dict[str, int]:
    """Run the stages in ``root``; returns the bytes that each came to hold."""
    params, taken = write_inputs(root, samples), {}
    context = get_context("spawn")
    for stage in ("sample_images", "extract_masks"):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_without_networks, args=(stage, params, root, there))
        process.start()
        there.close()
        taken[stage] = here.recv()
        process.join()
    return taken


def loosen(root: Path, folder: Path) -> None:
    """Write each sample's image and attention as files of their own."""
    folder.mkdir(parents=True)
    for row in records.stream_rows(root / "data/samples/index.parquet"):
        for kind, suffix in (("image", "png"), ("attention", "safetensors")):
            at = Member(str(root / row["shard"]), row[f"{kind}_offset"], row[f"{kind}_size"])
            (folder / f"{row['sample_id']}.{suffix}").write_bytes(at.read())


@dataclass(frozen=True)
class Repository:
    """A repository of DVC whose one stage makes links of the folder ``made``."""

    folder: Path

    def run(self, *command: str) -> tuple[float, str]:
        """Seconds of a command of DVC, and what it printed."""
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *command],
            cwd=self.folder,
            env={**os.environ, "DVC_NO_ANALYTICS": "1"},
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"dvc {' '.join(command)} failed:\n{done.stderr}")
        return time.monotonic() - started, done.stdout

    def start(self) -> None:
        """Set it up as this project's is."""
        subprocess.run(["git", "init", "--quiet"], cwd=self.folder, check=True)
        self.run("init", "--quiet")
        (self.folder / ".dvc/config").write_bytes((ROOT / ".dvc/config").read_bytes())
        (self.folder / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE), encoding="utf-8")


def measure(form: str, folder: Path, rounds: int) -> Row:
    """Time DVC on the folder's ``made``: the first run, and those with nothing to do."""
    repository = Repository(folder)
    repository.start()
    first, _ = repository.run("repro")
    times: dict[str, list[float]] = {"repro": [], "status": []}
    with progress(form, rounds, "rounds") as advance:
        for _ in range(rounds):
            for command, taken in times.items():
                seconds, said = repository.run(
                    command, *(["--json"] if command == "status" else [])
                )
                if "Running stage" in said or (command == "status" and json.loads(said)):
                    raise SystemExit(f"{form}: dvc {command} found something to do: {said}")
                taken.append(seconds)
            advance(1)
    return {
        "form": form,
        "files": sum(path.is_file() for path in (folder / "samples").rglob("*")),
        "first dvc repro, s": round(first, 1),
        "dvc repro with nothing to do, s": statistics.median(times["repro"]),
        "dvc status, s": statistics.median(times["status"]),
    }


def main(
    *,
    samples: Annotated[int, Parameter(help="how many")] = 100_000,
    rounds: Annotated[int, Parameter(help="of each command")] = 3,
    quick: Annotated[bool, Parameter(help="few samples; writes no result")] = False,
) -> None:
    """DVC and the manifests with many samples."""
    if quick:
        samples, rounds = 1000, 1
    rows: list[Row] = []
    with TemporaryDirectory(prefix="maskloom-many-") as temporary:
        root = Path(temporary)
        taken = make_samples(samples, root)
        prepare: dict[str, Callable[[Path], Any]] = {
            "shards": (root / "data/samples").rename,
            "loose files": lambda made: loosen(root, made),
        }
        for form in reversed(FORMS):  # the files are read from the shards
            (root / form).mkdir()
            prepare[form](root / form / "made")
            rows.insert(0, measure(form, root / form, rounds))
    nothing, status = (
        float(rows[0][key]) for key in ("dvc repro with nothing to do, s", "dvc status, s")
    )
    bars = [
        Bar.at_most("dvc repro with nothing to do, in shards, s", nothing, 5, 2),
        Bar.at_most("dvc status, in shards, s", status, 5, 2),
    ]
    bars += [
        Bar.at_most(f"memory of {stage}'s plan and index, MB", size / MEGABYTE, 500, 1)
        for stage, size in taken.items()
    ]
    ran = what_ran(seeds="none", rounds=f"{rounds}", samples=f"{samples:,}, {SHARD} to a shard")
    finish("many_files", ran, rows, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
