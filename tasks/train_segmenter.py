"""Stage ``train_segmenter``: the network, trained on the synthetic dataset and nothing else."""

import csv
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cyclopts
from mmengine.dist import is_main_process

from tasks import records
from tasks.checkpoints import find_initial
from tasks.digests import CACHE_PATH, DigestCache, combine, file_digests, files_below
from tasks.entry import run_stage
from tasks.initial_weights import InitialWeights
from tasks.labelled_sets import some
from tasks.params import InputError, Params
from tasks.segmentation import hand_over, train
from tasks.training_config import build_config

log = logging.getLogger(__name__)


def count_splits(rows: list[dict[str, Any]]) -> dict[str, int]:
    """How many kept samples each split has.

    Raises:
        InputError: there is nothing to train on.
    """
    counts = {
        split: sum(row["kept"] and row["split"] == split for row in rows)
        for split in ("train", "val")
    }
    if not counts["train"]:
        raise InputError(
            f"data/dataset: none of {len(rows)} samples was kept for training; metrics/filter.json "
            "says why, loosen filter_masks or sample more"
        )
    return counts


def check_classes(rows: list[dict[str, Any]], names: Sequence[str]) -> None:
    """Whether every class has pixels in a kept sample of the training split to learn it from.

    Raises:
        InputError: some have none; all are listed.
    """
    used = [row for row in rows if row["kept"] and row["split"] == "train"]
    kept = {each["name"] for row in used for each in row["classes"] if each["area"] > 0}
    empty = [name for name in names if name not in kept]
    if empty:
        raise InputError(
            f"data/dataset: no sample was kept for training of {len(empty)} classes: "
            f"{some(empty)}; "
            "metrics/filter.json says why, loosen filter_masks, sample more, or leave them out of "
            "expand_prompts.classes"
        )


def write_curves(path: Path, report: dict[str, Any]) -> None:
    """The curves as CSV for ``dvc plots``; a column is empty where it has no value.

    Loss; held-out mIoU; share of reliable pixels, of all and by class; agreement of the two
    networks of co-training.
    """
    columns: dict[str, dict[int, Any]] = {
        "loss": dict(report["curve"]),
        "miou": dict(report["val"]),
    }
    rows = report.get("reliability", [])
    for name in ("reliable", "agreement"):
        columns[name] = {row["iteration"]: row[name] for row in rows if name in row}
    for row in rows:
        for name, share in row["reliable_by_class"].items():
            columns.setdefault(f"reliable: {name}", {})[row["iteration"]] = share
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["iteration", *columns])
        for iteration in sorted(set().union(*columns.values())):
            writer.writerow([iteration, *(values.get(iteration) for values in columns.values())])


def run(params: Params, root: Path = Path()) -> None:
    """Train, or continue; write ``models/segmenter``, ``metrics/training.json`` and the curves.

    Raises:
        InputError: no sample was kept, of all or of a class, the config cannot use reliability, or
            the initial weights do not fit it.
    """
    section, folder = params.train_segmenter, root / "data/dataset"
    rows = records.read_rows(folder / "index.parquet")
    counts = count_splits(rows)
    check_classes(rows, params.expand_prompts.class_names)
    if not counts["val"] and (section.keep == "best" or section.patience):
        raise InputError(
            "train_segmenter.keep, train_segmenter.patience: nothing is held out to judge by; set "
            "filter_masks.val_share above 0, or keep: last and patience: null"
        )
    train_set, val_set = (
        {"type": "ShardDataset", "folder": str(folder), "split": split, "root": str(root)}
        for split in ("train", "val")
    )
    cfg = build_config(
        section,
        train_set,
        val_set if counts["val"] else None,
        len(params.expand_prompts.label_names),
        reliability=True,
        root=root,
    )
    cache = DigestCache(root / CACHE_PATH)
    # The dataset says where bytes lie; the manifests of samples and masks say what they are.
    manifests = [root / f"data/{name}/index.parquet" for name in ("samples", "masks")]
    there = [path for path in manifests if path.is_file()]
    data = combine(file_digests(root, [*files_below(folder), *there], cache))
    path = find_initial(section.init_from, root)
    start = InitialWeights(path, cache.file(path)) if path else None
    cache.save()
    log.info("training on %d synthetic images on %s", counts["train"], cfg.device)
    finished = train(
        cfg, data, "training", root, start, user="train_segmenter", curves=section.tensorboard
    )
    if not is_main_process():
        return
    report = hand_over(finished, root / "models/segmenter", params.expand_prompts.label_names)
    records.write_json(root / "metrics/training.json", report)
    write_curves(root / "plots/training.csv", report)


def main() -> None:
    """Train the segmentation network on the synthetic dataset: models/segmenter."""
    run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
