"""What filtering finds, what it costs, and what it gains.

1. Of the kept masks of a finished storybook run that agree with what the real-trained network sees,
   a tenth is spoiled on purpose (`benchmarks.spoiled_masks`). Each rule's bound is chosen on one
   half of the samples, where the lesser of precision and recall is highest; both are reported of
   the other half. All together: rules are added while that improves. The scores of the attention
   are those of the mask before, and find nothing.
2. A hundred thousand rows of scores are decided upon, files read and written.
3. Images at 512x512 are hashed and scored on one core, without decoding.

What filtering gains in mIoU is a grid of its own: ``python -m benchmarks.comparisons filtering``.
The first needs a finished run, `make demo`; its light trainings are kept under ``.maskloom``.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import cv2
import cyclopts
import numpy as np
from cyclopts import Parameter
from pyarrow import parquet

from benchmarks.cells import committed
from benchmarks.made_scores import write_manifests
from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from benchmarks.rule_choice import Found, as_threshold, best_bound, choose_together, compare, worst
from benchmarks.spoiled_masks import good_samples, write_spoiled
from tasks import filter_masks, records, score_masks
from tasks.checkpoints import WEIGHTS
from tasks.mask_scores import image_scores, luma, shape_scores
from tasks.near_duplicates import nearest_earlier, perceptual_hash, shrink
from tasks.params import FilterMasks, Params, load_params
from tasks.verdicts import CLASS_RULES, IMAGE_RULES, WHOLE_RULES, judge

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".maskloom/benchmarks/filtering"
AGREEMENT = 0.7
"""Least mean IoU of a good mask with what the real-trained network sees."""
SPOILED, SPOIL_SEED, HALVES_SEED = 0.1, 0, 1
VALIDATION = {"folds": 3, "iterations": 600}
RULES = (*CLASS_RULES, "min_quality")
"""Those that are tried; images are not spoiled."""
ROWS, CLASSES = 100_000, 20
SIDE, PICTURES = 512, 40
OFF: dict[str, Any] = dict.fromkeys((*IMAGE_RULES, *CLASS_RULES, *WHOLE_RULES))


def with_filter(params: Params, **changes: Any) -> Params:
    """The parameters with keys of ``filter_masks`` changed."""
    raw = params.model_dump()
    raw["filter_masks"] |= changes
    return Params.model_validate(raw)


def only(params: Params, rules: dict[str, float]) -> FilterMasks:
    """``filter_masks`` with these rules and no other; nothing is asked of score_masks."""
    off = OFF | {"max_per_class": None, "duplicates": "keep", "absent": "reject"}
    section = with_filter(params, **off).filter_masks
    return section.model_copy(update=rules)


def find_spoiled(run: Path, params: Params, validation: dict[str, Any]) -> tuple[list[Row], Found]:
    """A row for each rule and one for all together, and what these find.

    Args:
        run: the folder of a finished run.
        params: its parameters.
        validation: keys of ``score_masks.cross_validation``.
    """
    for part in ("data/samples", "data/masks", f"models/reference/{WEIGHTS}"):
        if not (run / part).exists():
            raise SystemExit(f"{run / part} is not there: finish a run first, with `make demo`")
    raw = params.model_dump()
    raw["score_masks"]["cross_validation"] |= validation
    params = Params.model_validate(raw)
    names = params.expand_prompts.class_names
    masks = {row["sample_id"]: row for row in records.read_rows(run / "data/masks/index.parquet")}
    dataset = records.read_rows(run / "data/dataset/index.parquet")
    accepted = {row["sample_id"] for row in dataset if row["kept"]}
    pairs = [
        (row, masks[row["sample_id"]])
        for row in records.read_rows(run / "data/samples/index.parquet")
        if row["sample_id"] in accepted
    ]
    good = good_samples(run, pairs, run / "models/reference", AGREEMENT, len(names) + 1)
    kind_of = write_spoiled(run, WORK, good, names, SPOILED, SPOIL_SEED)
    configs = WORK / "mmseg_configs"
    configs.unlink(missing_ok=True)
    configs.symlink_to(ROOT / "mmseg_configs")
    score_masks.run(params, WORK)
    scores = parquet.read_table(WORK / "data/scores/index.parquet")
    kinds = np.array([kind_of.get(name, "") for name in scores["sample_id"].to_pylist()])
    spoiled = kinds != ""
    order = np.random.default_rng(HALVES_SEED).permutation(len(scores))
    choosing, reporting = np.array_split(order, 2)
    told = f"{len(scores)} masks, {spoiled.sum()} spoiled"
    rows = []
    sets: dict[str, dict[str, float]] = {}
    for rule in RULES:
        score = worst(scores.take(choosing), rule)
        bound, _ = best_bound(score, spoiled[choosing], np.zeros(len(choosing), bool))
        sets[rule] = {rule: as_threshold(rule, bound)}
    sets["all together"] = choose_together(scores.take(choosing), spoiled[choosing], RULES)
    for name, rules in sets.items():
        kept = judge(scores.take(reporting), only(params, rules)).kept
        found = compare(~kept, spoiled[reporting])
        setting = ", ".join(f"{rule} {bound:.4g}" for rule, bound in rules.items())
        rows.append(_row(f"{told}: {name}", setting, found))
    missed = ", ".join(
        f"{kind} {(kept & (kinds[reporting] == kind)).sum()}"
        for kind in sorted(set(kind_of.values()))
    )
    rows.append(_row(f"{told}: not found, by kind", missed))
    return rows, found


def _row(what: str, setting: str, found: Found | None = None) -> Row:
    """A row of the table."""
    numbers = ("", "") if found is None else (round(found.precision, 3), round(found.recall, 3))
    return {
        "what": what,
        "setting": setting,
        "precision": numbers[0],
        "recall": numbers[1],
    }


def seconds_to_decide(count: int, rounds: int) -> float:
    """The median time of the whole stage with every rule on, on random scores."""
    names = [f"class {number}" for number in range(CLASSES)]
    raw = load_params(ROOT / "presets/storybook.yaml").model_dump()
    raw["expand_prompts"]["classes"] = [{"name": name} for name in names]
    raw["score_masks"]["cross_validation"]["folds"] = 3
    raw["score_masks"]["similarity"]["model"] = "any"
    for rule in OFF:
        low = rule.startswith("min")
        raw["filter_masks"][rule] = {"quantile": 0.02 if low else 0.98}
    raw["filter_masks"] |= {"duplicates": "reject", "max_per_class": {"ratio": 1.02}}
    params = Params.model_validate(raw)
    taken = []
    with tempfile.TemporaryDirectory(prefix="maskloom-scores-") as folder:
        write_manifests(Path(folder), count, names, seed=0)
        for _ in range(rounds):
            started = time.perf_counter()
            filter_masks.run(params, Path(folder))
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def images_per_second(pictures: int, side: int, rounds: int) -> float:
    """Images hashed and scored in a second of one core's time, two classes each."""
    rng = np.random.default_rng(0)
    images, labels = [], []
    for _ in range(pictures):
        coarse = rng.random((8, 8, 3)).astype(np.float32)
        smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        images.append((255 * smooth.clip(0, 1)).astype(np.uint8))
        labels.append(smooth[..., 0:2] > 0.6)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        for image, label in zip(images, labels, strict=True):
            grey = luma(image)
            image_scores(grey)
            perceptual_hash(shrink(grey)[None])
            for k in range(label.shape[2]):
                shape_scores(label[..., k])
        taken.append(time.process_time() - started)
    cv2.setNumThreads(threads)
    return pictures / statistics.median(taken)


def seconds_to_index(count: int) -> float:
    """Near duplicates of so many random hashes, up to 6 bits, found."""
    hashes = np.random.default_rng(0).integers(0, 2**64, count, dtype=np.uint64)
    started = time.perf_counter()
    nearest_earlier(hashes, 6)
    return time.perf_counter() - started


def main(
    *,
    run: Annotated[Path, Parameter(help="the folder of a finished storybook run")] = ROOT,
    quick: Annotated[bool, Parameter(help="few rows and iterations; writes no result")] = False,
) -> None:
    """Find spoiled masks, and time the scoring and the deciding."""
    commit = committed()
    validation = {"folds": 2, "iterations": 2} if quick else VALIDATION
    rounds = 1 if quick else 5
    rows, found = find_spoiled(run, load_params(run / "params.yaml"), validation)
    decided = seconds_to_decide(ROWS // 100 if quick else ROWS, rounds)
    scored = images_per_second(4 if quick else PICTURES, SIDE, rounds)
    indexed = seconds_to_index(ROWS // 100 if quick else ROWS)
    rows.append(_row(f"near duplicates of {ROWS:,} hashes", f"{indexed:.2f} s, up to 6 bits"))
    bars = [
        Bar.at_least("spoiled masks found", found.recall, 0 if quick else 0.8, 3),
        Bar.at_least("of the rejected, spoiled", found.precision, 0 if quick else 0.8, 3),
        Bar.at_most(f"seconds to decide upon {ROWS:,} rows", decided, 2, 2),
        Bar.at_least("images/s hashed and scored, one core, 512x512", scored, 200, 0),
    ]
    ran = what_ran(
        commit=commit[:12],
        seeds=f"spoiling {SPOIL_SEED}, halves {HALVES_SEED}",
        rounds=rounds,
        spoiled=f"{SPOILED:.0%} of the masks with mean IoU {AGREEMENT} or more",
        cross_validation=f"{validation['folds']} folds of {validation['iterations']} iterations",
    )
    finish("filtering", ran, rows, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
