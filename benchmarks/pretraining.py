"""What a network gains that first learnt another synthetic set, of many classes.

`storybook_pretrain` trains on the 24 kinds of storybook's things, each a class; what it has learnt
but its head is where the training on the eight classes starts, as `storybook_finetune` has it.
Beside it stand the same training from scratch, and one from scratch that takes as many iterations
as both together. Few images and many: pretraining is for those who have few. All train one network,
half as long as the presets do.
"""

from functools import partial
from pathlib import Path
from statistics import mean
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from benchmarks.cells import STORE, Changes, committed, run_cells, run_pipeline, with_quick
from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from flows.comparison import deviation, gains
from tasks.params import load_params

ROOT = Path(__file__).parents[1]
SEEDS = (0, 1, 2)
IMAGES_PER_CLASS = (12, 75)
ITERATIONS = 750
SCRATCH, LONGER, PRETRAINED = "from scratch", "from scratch, longer", "pretrained"


def pretrain(seed: int, quick: bool) -> tuple[Path, int]:
    """Train on the kinds; the network's folder, and how many iterations it took.

    A training that was made at this commit before is taken.
    """
    preset = load_params(ROOT / "presets/storybook_pretrain.yaml").model_dump()
    preset["expand_prompts"]["seed"] = seed
    preset["train_segmenter"] |= {
        "seed": seed,
        "reliability": "none",
        "iterations": ITERATIONS,
    }
    for name, keys in with_quick({}, quick).items():
        preset[name] |= keys
    folder = STORE / f"pretraining/{committed()[:12]}-{seed}{'-quick' * quick}"
    run_pipeline(preset, "train_segmenter", kept=folder)
    return folder / "models/segmenter", preset["train_segmenter"]["iterations"]


def run_cell(seed: int, images: int, start: str, quick: bool) -> Row:
    """Train on the eight classes in one of the three ways, and measure."""
    network, before = pretrain(seed, quick)
    iterations = (4 if quick else ITERATIONS) + (before if start == LONGER else 0)
    changes: Changes = {
        "expand_prompts": {"seed": seed, "images_per_class": 2 if quick else images},
        "train_segmenter": {
            "seed": seed,
            "reliability": "none",
            "iterations": iterations,
            "init_from": str(network) if start == PRETRAINED else "none",
        },
        "train_reference": {"labelled_set": "none"},
    }
    found = run_pipeline(with_quick(changes, quick), "evaluate_segmenter")
    return {
        "images of a class": images,
        "start": start,
        "seed": seed,
        "iterations": iterations,
        "mIoU": found["evaluation"]["miou"],
    }


def summarise(rows: list[Row]) -> tuple[list[Row], list[Bar]]:
    """A row for each number of images and start; what pretraining gains is a bar.

    A gain is paired: with the training from scratch of the same seed.
    """
    values: dict[tuple[float | str, float | str], dict[int, float]] = {}
    for row in rows:
        of_seeds = values.setdefault((row["images of a class"], row["start"]), {})
        of_seeds[int(row["seed"])] = float(row["mIoU"])
    table: list[Row] = []
    bars = []
    for (images, start), by_seed in values.items():
        found, gained = list(by_seed.values()), gains(by_seed, values[images, SCRATCH])
        gain, spread = mean(gained), deviation(gained)
        table.append(
            {
                "images of a class": images,
                "start": start,
                "mIoU, mean": round(mean(found), 4),
                "standard deviation": round(deviation(found), 4),
                "gain": round(gain, 4),
                "deviation of the gain": round(spread, 4),
            }
        )
        if start == PRETRAINED:
            name = f"gain of pretraining, {images} images of a class"
            bars.append(Bar(name, round(gain, 4), round(spread, 4), gain > spread))
    return table, bars


def main(
    *,
    quick: Annotated[bool, Parameter(help="one seed, the smallest parameters; no result")] = False,
) -> None:
    """mIoU from scratch and from a network that was trained on other classes before."""
    seeds = SEEDS[:1] if quick else SEEDS
    cells = {
        f"{seed}, {images}, {start}": partial(run_cell, seed, images, start, quick)
        for seed in seeds
        for images in IMAGES_PER_CLASS
        for start in (SCRATCH, LONGER, PRETRAINED)
    }
    table, bars = summarise(run_cells("pretraining", cells, quick=quick))
    ran = what_ran(commit=committed()[:12], seeds=", ".join(map(str, seeds)))
    finish("pretraining", ran, table, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
