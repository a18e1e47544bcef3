"""How much any treatment of doubtful labels could gain on storybook: the same images, judged.

The default preset's kept samples are trained on twice, with their masks from attention and with
what a judge sees of the prompt's classes in them. The judge is a segmenter trained on drawn pages
with exact labels. What the second network lacks to the real-trained one is the images', not the
labels', so nothing that reliability does can win it. Nothing here is used to make a dataset.
"""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Annotated

import cyclopts
import numpy as np
from cyclopts import Parameter

from benchmarks.cells import Changes, committed, run_pipeline, with_quick
from benchmarks.record import RESULTS, Row, finish, what_ran
from storybook.base_model.corpus import to_tensor
from storybook.base_model.critic import Critic, predict, train_critic
from tasks import evaluate_segmenter, train_segmenter
from tasks.iou import confusion_matrix, iou_per_class, mean_iou
from tasks.label_maps import decode, encode_label
from tasks.params import load_params
from tasks.records import DATASET, read_json, read_rows, write_table
from tasks.shards import parse_uri, write_shard

SEEDS = (0, 1, 2)
CRITIC_TRAINING = 900
"""Seed of the judge's pages; no other set has it."""
JUDGED = Path("data/judged.tar")


def judge_labels(root: Path, critic: Critic, values: dict[str, int]) -> float:
    """Replace the labels of the dataset below ``root`` by the judge's, of the prompt's classes.

    Returns:
        Mean IoU of the replaced labels of the kept samples with the judge's.
    """
    index = root / "data/dataset/index.parquet"
    rows = [row for row in read_rows(index) if row["kept"]]
    confusion = np.zeros((len(values) + 1,) * 2, np.int64)
    files = []
    for row in rows:
        image, label = (_read(root, row[kind]) for kind in ("image", "label"))
        seen = predict(critic, to_tensor(image[None]))[0].numpy().astype(np.uint8)
        asked = [values[each["name"]] for each in row["classes"]]
        seen[~np.isin(seen, asked)] = 0
        confusion += confusion_matrix(seen, label, len(confusion))
        files.append((f"{row['sample_id']}.label.png", encode_label(seen)))
    for row, member in zip(rows, write_shard(root / JUDGED, files), strict=True):
        row["label"] = replace(member, path=JUDGED.as_posix()).uri
    write_table(index, rows, DATASET)
    return mean_iou(iou_per_class(confusion))


def _read(root: Path, uri: str) -> np.ndarray:
    return decode(parse_uri(uri).below(root).read())


def run_cell(seed: int, critic: Critic, quick: bool) -> Row:
    """Both trainings, on the images of one seed."""
    changes: Changes = {
        "expand_prompts": {"seed": seed},
        "train_segmenter": {"seed": seed, "reliability": "none"},
        "train_reference": {"labelled_set": "none"},
    }
    with tempfile.TemporaryDirectory(prefix="maskloom-limit-") as temporary:
        root = Path(temporary) / "maskloom"
        found = run_pipeline(with_quick(changes, quick), "evaluate_segmenter", kept=root)
        params = load_params(root / "params.yaml")
        shutil.rmtree(root / "models/segmenter")
        agreement = judge_labels(root, critic, params.expand_prompts.label_values)
        train_segmenter.run(params, root)
        evaluate_segmenter.run(params, root)
        judged = read_json(root / "metrics/evaluation.json")["miou"]
    masks = found["evaluation"]["miou"]
    return {
        "seed": seed,
        "images": found["filter"]["train"],
        "masks by judge, IoU": round(agreement, 4),
        "trained on masks, mIoU": masks,
        "trained on the judge's labels, mIoU": judged,
        "limit of the gain": round(judged - masks, 4),
    }


def main(
    *,
    quick: Annotated[bool, Parameter(help="one seed, the smallest parameters; no result")] = False,
) -> None:
    """mIoU of networks trained on the same samples with masks from attention and a judge's."""
    critic = train_critic(3 if quick else 500, CRITIC_TRAINING, images=96 if quick else 6000)
    rows = [run_cell(seed, critic, quick) for seed in (SEEDS[:1] if quick else SEEDS)]
    limit = mean(float(row["limit of the gain"]) for row in rows)
    ran = what_ran(commit=committed()[:12], limit=f"mean {limit:.4f} mIoU", judge=CRITIC_TRAINING)
    finish("label_limit", ran, rows, [], None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
