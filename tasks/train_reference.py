"""Stage ``train_reference``: the same network and recipe on real labels, to measure against."""

import logging
import shutil
from pathlib import Path

import cyclopts
from mmengine.dist import is_main_process

from tasks import records
from tasks.digests import CACHE_PATH, DigestCache, combine, file_digests
from tasks.entry import run_stage
from tasks.labelled_sets import STORYBOOK, list_pairs
from tasks.params import Params
from tasks.segmentation import hand_over, train
from tasks.training_config import build_config

log = logging.getLogger(__name__)


def watching_set(labelled_set: str) -> str | None:
    """The set that a training on ``labelled_set`` is validated with: storybook's own, or none."""
    own, val = Path(labelled_set), STORYBOOK / "val"
    return str(val) if own.parent == STORYBOOK and own != val else None


def run(params: Params, root: Path = Path()) -> None:
    """Train, or continue, and write ``models/reference`` and ``metrics/reference_training.json``.

    Without a labelled set the folder holds ``off.json`` alone, which says so. A set from outside is
    trained on as a whole: with none to judge by, ``keep: best`` and ``patience`` are left out, and
    the log says so.
    """
    out, metrics = root / "models/reference", root / "metrics/reference_training.json"
    labelled_set = params.train_reference.labelled_set
    if labelled_set == "none":
        shutil.rmtree(out, ignore_errors=True)
        off = {"trained": False, "why": "train_reference.labelled_set is none"}
        records.write_json(out / "off.json", off)
        records.write_json(metrics, off)
        log.info("off: %s", off["why"])
        return
    classes = params.expand_prompts.label_names
    folders = [name for name in (labelled_set, watching_set(labelled_set)) if name]
    sets = [
        {"type": "FolderDataset", "folder": str(root / name), "classes": classes}
        for name in folders
    ]
    section = params.train_segmenter
    if len(sets) == 1 and (section.keep == "best" or section.patience):
        log.warning(
            "%s brings no images to judge by: the reference trains to its end and keeps its last "
            "weights, whatever train_segmenter.keep and train_segmenter.patience say",
            labelled_set,
        )
    cfg = build_config(
        section,
        sets[0],
        sets[1] if len(sets) > 1 else None,
        len(classes),
        reliability=False,
        root=root,
    )
    cache = DigestCache(root / CACHE_PATH)
    data = combine(
        {
            f"{name}/{file}": digest
            for name in folders
            for pair in list_pairs(root / name)
            for file, digest in file_digests(root / name, (pair.image, pair.label), cache).items()
        }
    )
    cache.save()
    log.info("training on %s on %s", labelled_set, cfg.device)
    finished = train(
        cfg,
        data,
        "training the reference",
        root,
        user="train_reference",
        curves=section.tensorboard,
    )
    if not is_main_process():
        return
    report = hand_over(finished, out, classes)
    records.write_json(metrics, {"trained": True, **report})


def main() -> None:
    """Train the same network on real labels, to measure against: models/reference."""
    run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
