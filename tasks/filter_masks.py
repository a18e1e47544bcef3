"""Stage ``filter_masks``: scores to verdicts. Every sample keeps its row, with the reason.

Also splits the kept samples: those of one text lie on one side, so that the held-out part holds no
twin of a training image.
"""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import cyclopts

from tasks import records
from tasks.entry import run_stage
from tasks.params import FilterMasks, InputError, Params
from tasks.shards import Member

Row = dict[str, Any]


def judge(classes: list[Row], section: FilterMasks) -> tuple[str, str]:
    """The first rule that a sample breaks.

    With ``absent: allow`` the image need not show every class of its prompt: those below
    ``min_area`` are left out, as long as one is there.

    Args:
        classes: the scores of each prompted class, see `tasks.records.MASK_CLASS`.

    Returns:
        The rule's key in ``params.yaml`` and the reason with its numbers; both empty when all hold.
    """
    if section.absent == "allow":
        classes = [one for one in classes if one["area"] >= section.min_area] or classes
    for scores in classes:
        checks = (
            ("min_area", scores["area"], section.min_area, scores["area"] >= section.min_area),
            ("max_area", scores["area"], section.max_area, scores["area"] <= section.max_area),
            ("min_peak", scores["peak"], section.min_peak, scores["peak"] >= section.min_peak),
            (
                "min_margin",
                scores["margin"],
                section.min_margin,
                scores["margin"] >= section.min_margin,
            ),
        )
        for key, value, bound, holds in checks:
            if not holds:
                kind, score = key.split("_")
                side = "below" if kind == "min" else "above"
                return key, f"{scores['name']}: {score} {value:.3f} {side} {key} {bound:g}"
    return "", ""


def split_of(text: str, section: FilterMasks) -> str:
    """``val`` for a share ``val_share`` of the prompts' texts, by hash, else ``train``."""
    place = records.content_seed("split", section.seed, text) / 2**63
    return "val" if place < section.val_share else "train"


def decide(
    samples: list[Row], masks: list[Row], prompts: list[Row], section: FilterMasks
) -> list[Row]:
    """One `tasks.records.DATASET` row a sample, with a ``rule`` for the statistics."""
    mask_of = {row["sample_id"]: row for row in masks}
    text_of = {row["prompt_id"]: row["text"] for row in prompts}
    rows = []
    for sample in samples:
        mask = mask_of[sample["sample_id"]]
        rule, reason = judge(mask["classes"], section)
        image = Member(sample["shard"], sample["image_offset"], sample["image_size"])
        attention = Member(sample["shard"], sample["attention_offset"], sample["attention_size"])
        label = Member(mask["shard"], mask["label_offset"], mask["label_size"])
        trust = Member(mask["shard"], mask["reliability_offset"], mask["reliability_size"])
        varying = None
        if mask.get("uncertainty_size") is not None:
            at, size = mask["uncertainty_offset"], mask["uncertainty_size"]
            varying = Member(mask["shard"], at, size).uri
        rows.append(
            {
                "sample_id": sample["sample_id"],
                "prompt_id": sample["prompt_id"],
                "text": text_of[sample["prompt_id"]],
                "classes": mask["classes"],
                "kept": not rule,
                "rule": rule,
                "reason": reason,
                "split": "" if rule else split_of(text_of[sample["prompt_id"]], section),
                "image": image.uri,
                "attention": attention.uri,
                "label": label.uri,
                "reliability": trust.uri,
                "uncertainty": varying,
            }
        )
    return rows


def summarise(rows: list[Row], class_names: list[str]) -> dict[str, Any]:
    """The funnel: how many were kept, and which rule rejected the others."""
    kept = [row for row in rows if row["kept"]]
    per_class = Counter(scores["name"] for row in kept for scores in row["classes"])
    return {
        "samples": len(rows),
        "kept": len(kept),
        "rejected": len(rows) - len(kept),
        "reasons": dict(sorted(Counter(row["rule"] for row in rows if row["rule"]).items())),
        "kept_per_class": {name: per_class[name] for name in class_names},
        "train": sum(row["split"] == "train" for row in kept),
        "val": sum(row["split"] == "val" for row in kept),
    }


def run(params: Params, root: Path = Path()) -> None:
    """Write ``data/dataset`` and ``metrics/filter.json``.

    Raises:
        InputError: nothing was kept for training.
    """
    rows = decide(
        records.read_rows(root / "data/samples/index.parquet"),
        records.read_rows(root / "data/masks/index.parquet"),
        records.read_rows(root / "data/prompts.parquet"),
        params.filter_masks,
    )
    summary = summarise(rows, params.expand_prompts.class_names)
    records.write_json(root / "metrics/filter.json", summary)
    if not summary["train"]:
        raise InputError(
            f"filter_masks: none of {len(rows)} samples is left for training, rejected by "
            f"{summary['reasons']}; loosen these thresholds in params.yaml"
        )
    out = root / "data/dataset"
    shutil.rmtree(out, ignore_errors=True)
    records.write_json(out / "classes.json", params.expand_prompts.label_names)
    records.write_table(out / "index.parquet", rows, records.DATASET)


def main() -> None:
    """Score the masks, keep or reject each with a reason, split: data/dataset."""
    run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
