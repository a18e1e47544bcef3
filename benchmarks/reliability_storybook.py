"""What each use of reliability gains on storybook: the default preset, three seeds, five methods.

The methods of a seed share its samples, masks and filtering, and the seed of their trainings; all
take the same number of iterations. What is measured is mIoU on the default preset's test set.
"""

import shutil
from functools import partial
from statistics import mean, stdev
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from benchmarks.cells import ROOT, STORE, Changes, committed, run_cells, run_pipeline, with_quick
from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from tasks.params import load_params

SEEDS = (0, 1, 2)
METHODS = ("none", "ignore_band", "weighted", "urn", "co_training")
GAIN = 0.03
"""The bar for co-training: three points of mIoU."""
SCALINGS = [0.5, 0.7, 1.0, 1.4, 2.0]
"""Of the response, for the uncertainty that URN needs; the labels do not change by it."""


def cell_changes(method: str, seed: int, quick: bool) -> Changes:
    """The parameters of one training."""
    return with_quick(
        {
            "expand_prompts": {"seed": seed},
            "extract_masks": {"response_scalings": SCALINGS},
            "train_segmenter": {"reliability": method, "seed": seed},
            "train_reference": {"labelled_set": "none"},
        },
        quick,
    )


def run_cell(seed: int, quick: bool) -> Row:
    """Sample once, and train with each method."""
    kept = STORE / f"reliability_storybook-{committed()[:12]}-{seed}{'-quick' * quick}"
    row: Row = {"seed": seed}
    minutes = 0.0
    for method in METHODS:
        found = run_pipeline(cell_changes(method, seed, quick), "evaluate_segmenter", kept=kept)
        row["images"] = found["filter"]["train"]
        row[method] = found["evaluation"]["miou"]
        minutes += found["minutes"]
    shutil.rmtree(kept)
    return row | {"minutes": round(minutes, 1)}


def judge(rows: list[Row], quick: bool) -> tuple[list[Row], list[Bar]]:
    """Rows of means and standard deviations, and the bars."""
    reached = {method: [float(row[method]) for row in rows] for method in METHODS}
    averages = {method: mean(values) for method, values in reached.items()}
    summary: list[Row] = [{"seed": "mean", **{k: round(v, 4) for k, v in averages.items()}}]
    deviation = 0.0
    if len(rows) > 1:
        summary.append(
            {"seed": "standard deviation"}
            | {method: round(stdev(values), 4) for method, values in reached.items()}
        )
        deviation = stdev(reached["none"])
    gain = averages["co_training"] - averages["none"]
    worst = min(averages[method] - averages["none"] for method in METHODS[1:])
    bars = [
        Bar.at_least("co_training above none, mIoU", round(gain, 4), -1 if quick else GAIN),
        Bar.at_least(
            "the worst method above none, mIoU; bound: none's standard deviation",
            round(worst, 4),
            -1 if quick else -round(deviation, 4),
        ),
    ]
    return summary, bars


def main(
    *,
    jobs: Annotated[int, Parameter(help="seeds at a time, see OMP_NUM_THREADS")] = 1,
    quick: Annotated[bool, Parameter(help="one seed, the smallest parameters; no result")] = False,
) -> None:
    """mIoU of networks that use the reliability of the same masks in different ways."""
    seeds = SEEDS[:1] if quick else SEEDS
    cells = {str(seed): partial(run_cell, seed, quick) for seed in seeds}
    rows = run_cells("reliability_storybook", cells, quick=quick, jobs=jobs)
    summary, bars = judge(rows, quick)
    iterations = load_params(ROOT / "presets/storybook.yaml").train_segmenter.iterations
    ran = what_ran(commit=committed()[:12], seeds=", ".join(map(str, seeds)), iterations=iterations)
    finish("reliability_storybook", ran, rows + summary, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
