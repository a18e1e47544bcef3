"""What adapting to a distant domain gains: storybook_street with and without LoRA, three seeds.

Everything else is equal: prompts, images, masks, training, and the test set of streets. Beside it
stands the same network trained on labelled streets. The adaptation sees 80 streets without labels.
"""

from functools import partial
from statistics import mean, stdev
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from benchmarks.cells import ROOT, Changes, committed, run_cells, run_pipeline, with_quick
from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from tasks.params import load_params

SEEDS = (0, 1, 2)
ADAPTERS = {"unadapted": "none", "adapted": "train"}
GAIN = 0.10
"""The bar: ten points of mIoU."""
QUICK_LORA = {"steps": 4, "eval_interval": 2, "batch_size": 4, "max_images": 12}


def preset_for_anywhere(name: str) -> Changes:
    """A preset whose model and config are found from any root that stages run in."""
    params = load_params(ROOT / f"presets/{name}.yaml").model_dump()
    for section, key in (("sample_images", "model"), ("train_segmenter", "config")):
        params[section][key] = str(ROOT / params[section][key])
    return params


def cell_changes(way: str, seed: int, quick: bool) -> Changes:
    """The parameters of a cell; the reference is trained once a seed, beside the adapted one."""
    changes: Changes = {
        "expand_prompts": {"seed": seed},
        "adapt_lora": {"adapter": ADAPTERS[way], "seed": seed},
        "train_segmenter": {"seed": seed},
    }
    if way == "unadapted":
        changes["train_reference"] = {"labelled_set": "none"}
    if quick:
        changes["adapt_lora"] |= QUICK_LORA
    return with_quick(changes, quick)


def run_cell(way: str, seed: int, quick: bool) -> Row:
    """Run the pipeline up to the evaluation."""
    changes = cell_changes(way, seed, quick)
    found = run_pipeline(changes, "evaluate_segmenter", "storybook_street")
    adaptation, evaluation = found["adaptation"], found["evaluation"]
    return {
        "samples": way,
        "seed": seed,
        "images": found["filter"]["samples"],
        "kept": found["filter"]["kept"],
        "streets seen": adaptation["images"] or 0,
        "held-out loss falls by": adaptation["fall"] or 0.0,
        "mIoU": evaluation["miou"],
        "reference": evaluation["reference_miou"] or "",
        "minutes": found["minutes"],
    }


def main(
    *,
    jobs: Annotated[int, Parameter(help="cells at a time, see OMP_NUM_THREADS")] = 1,
    quick: Annotated[bool, Parameter(help="one seed, the smallest parameters; no result")] = False,
) -> None:
    """mIoU on real streets of networks trained on unadapted and on adapted samples."""
    seeds = SEEDS[:1] if quick else SEEDS
    cells = {
        f"{way}, {seed}": partial(run_cell, way, seed, quick) for seed in seeds for way in ADAPTERS
    }
    rows = run_cells("lora", cells, quick=quick, jobs=jobs)
    rows.sort(key=lambda row: list(ADAPTERS).index(str(row["samples"])))
    reached = {
        way: [float(row["mIoU"]) for row in rows if row["samples"] == way] for way in ADAPTERS
    }
    gains = [b - a for a, b in zip(reached["unadapted"], reached["adapted"], strict=True)]
    seen = max(int(row["streets seen"]) for row in rows)
    bars = [
        Bar.at_least("mean gain in mIoU", round(mean(gains), 4), -1 if quick else GAIN),
        Bar.at_most("streets seen", seen, 80),
    ]
    spread = f"gains {', '.join(f'{gain:.3f}' for gain in gains)}"
    if len(gains) > 1:
        spread += f", standard deviation {stdev(gains):.3f}"
    ran = what_ran(commit=committed()[:12], seeds=", ".join(map(str, seeds)), spread=spread)
    finish("lora", ran, rows, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
