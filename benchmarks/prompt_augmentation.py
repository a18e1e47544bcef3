"""What synonyms and hyponyms in the prompts gain: storybook with and without them, three seeds.

Everything else is equal: the number of images, the base model, the training, and the test set,
which shows all hyponyms. Each cell runs the pipeline up to the evaluation in a temporary clone of
the committed state. A finished cell is kept under ``.maskloom/benchmarks``, by commit, so that a
measurement that was stopped goes on where it was.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from benchmarks.demo import QUICK, change_params
from benchmarks.record import RESULTS, Bar, Row, finish, what_ran

ROOT = Path(__file__).parents[1]
CELLS = ROOT / ".maskloom/benchmarks/prompt_augmentation.ndjson"
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


def cell_changes(words: str, seed: int, quick: bool) -> dict[str, dict[str, Any]]:
    """The parameters of a cell; no reference is trained, since none is compared with."""
    changes: dict[str, dict[str, Any]] = {name: dict(keys) for name, keys in QUICK.items() if quick}
    changes.setdefault("expand_prompts", {}).update(shares=SHARES[words], seed=seed)
    changes.setdefault("train_segmenter", {})["seed"] = seed
    if not quick:
        changes["expand_prompts"]["images_per_class"] = IMAGES_PER_CLASS
        changes["train_segmenter"]["iterations"] = ITERATIONS
    changes["train_reference"] = {"labelled_set": "none"}
    return changes


def run_cell(words: str, seed: int, quick: bool) -> Row:
    """Run the pipeline in a clone and read what came out.

    Raises:
        CalledProcessError: a stage failed.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="maskloom-augmentation-") as temporary:
        folder = Path(temporary) / "maskloom"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        change_params(folder, cell_changes(words, seed, quick))
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        command = [sys.executable, "-m", "dvc", "repro", "--quiet", "evaluate_segmenter"]
        subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, check=True)
        prompts, filtered, evaluation = (
            json.loads((folder / f"metrics/{name}.json").read_text(encoding="utf-8"))
            for name in ("prompts", "filter", "evaluation")
        )
    return {
        "words": words,
        "seed": seed,
        "images": filtered["samples"],
        "kept": filtered["kept"],
        "distinct words": prompts["distinct_words"],
        "distinct texts": prompts["distinct_texts"],
        "mIoU": round(evaluation["miou"], 4),
        "minutes": round((time.monotonic() - started) / 60, 1),
    }


def finished(commit: str, quick: bool) -> list[Row]:
    """The cells that were run at a commit."""
    if not CELLS.exists():
        return []
    found = [json.loads(line) for line in CELLS.read_text(encoding="utf-8").splitlines()]
    return [cell["row"] for cell in found if cell["commit"] == commit and cell["quick"] == quick]


def main(
    *,
    quick: Annotated[bool, Parameter(help="one seed, the smallest parameters; no result")] = False,
) -> None:
    """mIoU with class names only and with synonyms and hyponyms, everything else equal."""
    show = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(
        show, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
    rows = finished(commit, quick)
    seeds = SEEDS[:1] if quick else SEEDS
    for seed in seeds:
        for words in SHARES:
            if any(row["words"] == words and row["seed"] == seed for row in rows):
                continue
            rows.append(run_cell(words, seed, quick))
            print(rows[-1], flush=True)
            CELLS.parent.mkdir(parents=True, exist_ok=True)
            with CELLS.open("a", encoding="utf-8") as file:
                cell = {"commit": commit, "quick": quick, "row": rows[-1]}
                file.write(json.dumps(cell) + "\n")
    rows.sort(key=lambda row: (list(SHARES).index(str(row["words"])), row["seed"]))
    mean = {
        words: sum(float(row["mIoU"]) for row in rows if row["words"] == words) / len(seeds)
        for words in SHARES
    }
    gain = mean["synonyms and hyponyms"] - mean["class names"]
    bars = [
        Bar.at_least("mean gain in mIoU", round(gain, 4), -1 if quick else GAIN),
        Bar.at_least(
            "images of a cell", min(int(row["images"]) for row in rows), 1 if quick else 600
        ),
    ]
    ran = what_ran(commit=commit[:12], seeds=", ".join(map(str, seeds)), rounds=1)
    finish("prompt_augmentation", ran, rows, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
