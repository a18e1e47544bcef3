"""What synonyms and hyponyms in the prompts gain: storybook with and without them, three seeds.

Everything else is equal: the number of images, the base model, the training, and the test set,
which shows all hyponyms.
"""

from functools import partial
from statistics import mean
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from benchmarks.cells import Changes, committed, run_cells, run_pipeline, with_quick
from benchmarks.record import RESULTS, Bar, Row, finish, what_ran

SEEDS = (0, 1, 2)
SHARES: dict[str, dict[str, float]] = {
    "class names": {"plain": 1.0, "synonym": 0.0, "hyponym": 0.0},
    "synonyms and hyponyms": {"plain": 0.4, "synonym": 0.2, "hyponym": 0.4},
}
IMAGES_PER_CLASS = 75
ITERATIONS = 1000
"""Of each training: fewer than the demo's, as there are fewer images."""
GAIN = 0.05
"""The bar: five points of mIoU."""


def cell_changes(words: str, seed: int, quick: bool) -> Changes:
    """The parameters of a cell; no reference is trained, since none is compared with."""
    size: Changes = {
        "expand_prompts": {"images_per_class": IMAGES_PER_CLASS},
        "train_segmenter": {"iterations": ITERATIONS},
    }
    changes = with_quick({} if quick else size, quick)
    changes["expand_prompts"] |= {"shares": SHARES[words], "seed": seed}
    changes["train_segmenter"] |= {"seed": seed}
    return changes | {"train_reference": {"labelled_set": "none"}}


def run_cell(words: str, seed: int, quick: bool) -> Row:
    """Run the pipeline up to the evaluation."""
    found = run_pipeline(cell_changes(words, seed, quick), "evaluate_segmenter", "storybook")
    return {
        "words": words,
        "seed": seed,
        "images": found["filter"]["samples"],
        "kept": found["filter"]["kept"],
        "distinct words": found["prompts"]["distinct_words"],
        "distinct texts": found["prompts"]["distinct_texts"],
        "mIoU": round(found["evaluation"]["miou"], 4),
        "minutes": found["minutes"],
    }


def main(
    *,
    quick: Annotated[bool, Parameter(help="one seed, the smallest parameters; no result")] = False,
) -> None:
    """mIoU with class names only and with synonyms and hyponyms, everything else equal."""
    seeds = SEEDS[:1] if quick else SEEDS
    cells = {
        f"{words}, {seed}": partial(run_cell, words, seed, quick)
        for seed in seeds
        for words in SHARES
    }
    rows = run_cells("prompt_augmentation", cells, quick=quick)
    rows.sort(key=lambda row: list(SHARES).index(str(row["words"])))
    plain, augmented = (
        mean(float(row["mIoU"]) for row in rows if row["words"] == words) for words in SHARES
    )
    gain = round(augmented - plain, 4)
    images = min(int(row["images"]) for row in rows)
    bars = [
        Bar.at_least("mean gain in mIoU", gain, -1 if quick else GAIN),
        Bar.at_least("images of a cell", images, 1 if quick else 600),
    ]
    ran = what_ran(commit=committed()[:12], seeds=", ".join(map(str, seeds)), rounds=1)
    finish("prompt_augmentation", ran, rows, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
