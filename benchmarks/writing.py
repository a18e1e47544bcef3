"""What encoding and writing cost while images are sampled: throughput beside the bare pipeline.

Three ways sample the same prompts with the same seeds:

* pipeline: the pipeline of diffusers, its images thrown away;
* traced: `tasks.sampling`, the attention read, images and attention thrown away;
* written: the stage's own loop, `tasks.sample_images.sample_into`: PNG, safetensors, a shard with
  its checksum, flushed to the disk. Its time ends when the last shard is on the disk, so that it
  holds the one stretch of writing, the last shard's, that nothing is sampled beside.

Times are of alternating rounds after a warm-up, in an order that rotates; a ratio is the median of
the rounds' ratios. Encoding and writing run in a thread: they need a core that sampling leaves.
The last column counts the seconds of all cores together, which other work on the machine leaves
alone: what encoding and writing would cost if no core were free.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import cyclopts
import torch
from cyclopts import Parameter

from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from benchmarks.sampling import timed
from tasks.model_digest import model_digest
from tasks.params import load_params
from tasks.pipelines import load_pipeline
from tasks.progress import progress
from tasks.prompts import expand
from tasks.sample_images import Sampler, sample_into
from tasks.sample_shards import Recipe, SampleJob, library_versions
from tasks.sampling import sample_batch
from tasks.work_store import WorkStore

ROOT = Path(__file__).parents[1]
BESIDE = "throughput beside the pipeline's"
PRESET = ROOT / "presets/storybook.yaml"


def build_ways(images: int, steps: int, folder: Path) -> dict[str, Callable[[], Any]]:
    """What is timed, by name; each samples ``images`` images in shards of two batches."""
    params = load_params(PRESET)
    batch = images // 4
    changes = {
        "model": str(ROOT / "models/storybook-sd"),
        "device": "cpu",
        "num_inference_steps": steps,
        "batch_size": batch,
        "shard_size": 2 * batch,
    }
    section = params.sample_images.model_copy(update=changes)
    per_class = -(-images // len(params.expand_prompts.classes))
    prompts = params.expand_prompts.model_copy(update={"images_per_class": per_class})
    rows = list(expand(prompts))[:images]
    model = model_digest(section.model)
    recipe = Recipe(section, model, None, "cpu", library_versions())
    sampler, pipeline = Sampler(recipe), load_pipeline(section, "cpu")
    parts = [rows[first : first + batch] for first in range(0, images, batch)]
    jobs = [
        SampleJob(f"all-{first:04d}.tar", rows[first : first + 2 * batch], recipe)
        for first in range(0, images, 2 * batch)
    ]
    rounds = iter(range(10**6))

    def sample_plainly() -> None:
        for part in parts:
            pipeline(
                [row["text"] for row in part],
                negative_prompt=[row["negative_prompt"] for row in part],
                height=section.height,
                width=section.width,
                num_inference_steps=steps,
                guidance_scale=section.guidance_scale,
                generator=[torch.Generator("cpu").manual_seed(row["seed"]) for row in part],
                output_type="np",
            )

    def sample_traced() -> None:
        for part in parts:
            sample_batch(pipeline, section, part)

    def sample_written() -> None:
        store = WorkStore("sample_images", folder / str(next(rounds)))
        sample_into(store, jobs, sampler, images)

    return {"pipeline": sample_plainly, "traced": sample_traced, "written": sample_written}


Seconds = tuple[float, float]
"""On the clock, and of all cores together."""


def compare(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[Seconds]]:
    """What each way takes in each round, after a warm-up."""
    seconds: dict[str, list[Seconds]] = {name: [] for name in ways}
    names = list(ways)
    with progress("writing", rounds + 1, "rounds") as advance:
        for number in range(rounds + 1):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                before = time.process_time()
                taken, _ = timed(ways[name], torch.device("cpu"))
                if number:
                    seconds[name].append((taken, time.process_time() - before))
            advance(1)
    return seconds


def main(
    *,
    images: Annotated[int, Parameter(help="in a round, a multiple of 4")] = 32,
    steps: Annotated[int, Parameter(help="denoising steps")] = 20,
    rounds: Annotated[int, Parameter(help="of each way, after a warm-up")] = 5,
    quick: Annotated[bool, Parameter(help="a smoke run; writes no result")] = False,
) -> None:
    """Sampling with writing beside the bare pipeline."""
    if quick:
        images, steps, rounds = 8, 1, 1
    with TemporaryDirectory(prefix="maskloom-writing-") as folder:
        seconds = compare(build_ways(images, steps, Path(folder)), rounds)
    rows: list[Row] = []
    for name, taken in seconds.items():
        clock, cores = (
            [bare[kind] / mine[kind] for bare, mine in zip(seconds["pipeline"], taken, strict=True)]
            for kind in range(2)
        )
        rows.append(
            {
                "way": name,
                "images per second": images / statistics.median(one for one, _ in taken),
                BESIDE: statistics.median(clock),
                "lowest": min(clock),
                "highest": max(clock),
                "per second of a core, beside it": statistics.median(cores),
            }
        )
    written = float(rows[-1][BESIDE])
    # A single step, once, tells nothing.
    bars = [Bar.at_least("throughput with writing", written, 0 if quick else 0.97)]
    ran = what_ran(
        seeds="of the rows",
        rounds=f"{rounds}, rotating",
        images=f"{images} of 64x64, {steps} steps, 4 batches, 2 shards",
        threads=str(torch.get_num_threads()),
    )
    finish("writing", ran, rows, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
