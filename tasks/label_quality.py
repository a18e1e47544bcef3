"""Label quality by cross-validation: what networks that have not seen a sample say of its mask.

The samples are parted into folds by the texts of their prompts, so that no twin of a sample lies
among what its network learns from. A network is trained on all folds but one with the recipe of
``train_segmenter``, and cleanlab scores the masks of the one left out by its probabilities (Lad and
Mueller, "Estimating label quality and errors in semantic segmentation data via any model", 2023).
It takes the place of DiffuMask's noise filtering (arXiv 2303.11681), which trains on folds too.
"""

import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from cleanlab.segmentation.rank import get_label_quality_scores
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from tasks import records
from tasks.digests import CACHE_PATH, DigestCache, combine, file_digests
from tasks.in_use import write_in_use
from tasks.label_maps import decode, ignore_value
from tasks.params import CrossValidation, InputError, Params, TrainSegmenter
from tasks.progress import progress
from tasks.segmentation import fingerprint, train
from tasks.segmenter import Segmenter
from tasks.shards import Member
from tasks.training_config import build_config

log = logging.getLogger(__name__)

FOLDS = Path(".maskloom/folds")
"""Where the folds' datasets lie, from the repository root."""
CHECKPOINT_INTERVAL = 500
BATCH_SIZE = 16
"""Images labelled at a time, where they have the same size, and at most."""
LOGITS_BYTES = 1 << 30
"""Room for their logits: of 920 labels at 512x512 pixels, one image has 0.9 GiB."""

Row = dict[str, Any]


class Labelled(NamedTuple):
    """A sample's files and its prompt's text."""

    sample_id: str
    text: str
    image: Member
    label: Member
    reliability: Member


class Quality(NamedTuple):
    """Of a sample's mask, and of each label value that the mask or the network gives a pixel."""

    whole: float | None
    by_value: dict[int, float]


def fold_of(texts: Iterable[str], section: CrossValidation) -> dict[str, int]:
    """The fold of each text: they are dealt out in the order of a hash.

    Raises:
        InputError: there are fewer texts than folds.
    """
    different = set(texts)
    if len(different) < section.folds:
        raise InputError(
            f"score_masks.cross_validation.folds: {section.folds} folds need as many different "
            f"prompts, and there are {len(different)}; ask for fewer folds, or 0"
        )
    ordered = sorted(different, key=lambda text: records.content_id("fold", section.seed, text))
    return {text: number % section.folds for number, text in enumerate(ordered)}


def recipe(section: TrainSegmenter, validation: CrossValidation) -> TrainSegmenter:
    """The light training of a fold: the network and its optimisation, and nothing beside them.

    All pixels count alike: the question is what a network makes of the masks as they are.
    """
    plain = {
        "iterations": validation.iterations,
        "seed": validation.seed,
        "reliability": "none",
        "init_from": "none",
        "accumulation": 1,
        "ema": 0.0,
        "keep": "last",
        "patience": None,
        "checkpoint_interval": min(CHECKPOINT_INTERVAL, validation.iterations),
        "deterministic": False,
    }
    return section.model_copy(update=plain)


def mask_quality(label: np.ndarray, probabilities: np.ndarray, temperature: float) -> Quality:
    """cleanlab's softmin scores of one mask.

    A pixel's score is the probability of its label. The score of many is their mean, weighted by
    ``softmax((1 - score) / temperature)``. Pixels without a label do not count.

    Args:
        label: ``(H, W)``.
        probabilities: ``float (C, H, W)``, of each label value.

    Returns:
        The score of all pixels, None where none has a label, and that of each label value: of the
        pixels that have it or that the network gives it.
    """
    counted = label != ignore_value(label.dtype)
    given = label[counted].astype(np.int64)
    if not given.size:
        return Quality(None, {})
    scores = probabilities[given, *np.nonzero(counted)]
    best = probabilities.argmax(0)[counted]
    return Quality(
        _softmin(scores, temperature),
        {
            int(value): _softmin(scores[(given == value) | (best == value)], temperature)
            for value in np.union1d(given, best)
        },
    )


def _softmin(scores: np.ndarray, temperature: float) -> float:
    """cleanlab's score of an image whose pixels' labels have these probabilities."""
    # It looks at the given label's probability alone, so two channels do for any number of classes.
    two = np.stack([scores, 1 - scores])[None, :, None]
    labels = np.zeros((1, 1, len(scores)), np.int64)
    images, _ = get_label_quality_scores(labels, two, verbose=False, temperature=temperature)
    return float(images[0])


def label_probabilities(segmenter: Segmenter, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """``float32 (C, H, W)`` for each RGB image ``uint8 (H, W, 3)``, in their order."""
    for (height, width, _), same_size in itertools.groupby(images, np.shape):
        room = LOGITS_BYTES // (4 * len(segmenter.class_names) * height * width)
        batch_size = max(1, min(BATCH_SIZE, room))
        prepared = (segmenter.pipeline({"img": image[..., ::-1]}) for image in same_size)
        for batch in records.batched(prepared, batch_size):
            with torch.no_grad():
                found = segmenter.network.test_step(pseudo_collate(batch))
            for sample in found:
                yield sample.seg_logits.data.float().softmax(0).cpu().numpy()


def cross_validate(
    samples: Sequence[Labelled], params: Params, root: Path = Path()
) -> Iterator[tuple[str, Quality]]:
    """Train a network for each fold, or take it over from the store, and score the fold.

    Yields:
        sample_id and quality of every sample, fold by fold.

    Raises:
        InputError: see `fold_of` and `tasks.training_config.build_config`.
    """
    section = params.score_masks.cross_validation
    folds = fold_of((one.text for one in samples), section)
    cache = DigestCache(root / CACHE_PATH)
    shards = sorted({root / one.label.path for one in samples})
    masks = combine(file_digests(root, shards, cache))
    cache.save()
    prepared = [
        _prepare(fold, [one for one in samples if folds[one.text] != fold], masks, params, root)
        for fold in range(section.folds)
    ]
    names = [fingerprint(cfg, data, root, None) for cfg, data in prepared]
    write_in_use("training", "score_masks", names, root)
    for fold, (cfg, data) in enumerate(prepared):
        held_out = [one for one in samples if folds[one.text] == fold]
        finished = train(cfg, data, f"fold {fold + 1} of {section.folds}, training", root)
        segmenter = Segmenter(finished, cfg.device)
        images = (decode(one.image.below(root).read()) for one in held_out)
        with progress(f"fold {fold + 1} of {section.folds}", len(held_out), "masks") as advance:
            found = label_probabilities(segmenter, images)
            for one, probabilities in zip(held_out, found, strict=True):
                label = decode(one.label.below(root).read())
                yield one.sample_id, mask_quality(label, probabilities, section.temperature)
                advance(1)


def _prepare(
    fold: int, samples: Sequence[Labelled], masks: str, params: Params, root: Path
) -> tuple[Config, str]:
    """Config and digest of a fold's training, whose ``samples``, not of the fold, are written."""
    section = params.score_masks.cross_validation
    names = params.expand_prompts.label_names
    folder = FOLDS / str(fold)
    rows = [
        {
            "sample_id": one.sample_id,
            "kept": True,
            "split": "train",
            "classes": [],
            **{kind: getattr(one, kind).uri for kind in ("image", "label", "reliability")},
        }
        for one in samples
    ]
    records.write_table(root / folder / "index.parquet", rows, records.DATASET)
    records.write_json(root / folder / "classes.json", names)
    dataset = {
        "type": "ShardDataset",
        "folder": str(root / folder),
        "split": "train",
        "root": str(root),
    }
    light = recipe(params.train_segmenter, section)
    cfg = build_config(light, dataset, None, len(names), reliability=False, root=root)
    return cfg, records.content_id(masks, [one.sample_id for one in samples])
