"""What the report says of the way from prompts to training images: the funnel and the balance.

Imports no torch.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from tasks.params import FilterMasks
from tasks.report_samples import Samples

DUPLICATES = "duplicates"
RULES = {
    "min_area": "covers too little of the image",
    "max_area": "covers too much of the image",
    "min_peak": "attention too weak",
    "min_margin": "too close to another class",
    "max_entropy": "scores too even",
    "min_agreement": "refinement changed it too much",
    "max_components": "in too many pieces",
    "min_largest": "scattered over pieces",
    "max_border": "cut off by the image's border",
    "min_quality": "networks that have not seen it disagree",
    "finite": "damaged, or attention that is no number",
    "max_dark": "black image",
    "min_contrast": "flat image",
    "min_similarity": "does not fit its prompt",
    DUPLICATES: "near duplicate of an earlier image",
    "max_per_class": "more of its class than asked for",
}
"""What it means to be rejected by a threshold of ``filter_masks``."""

Row = dict[str, Any]


def rule_text(rule: str) -> str:
    """What it means to be rejected by a rule, or its name in words."""
    return RULES.get(rule, rule.replace("_", " "))


def bound_text(section: FilterMasks, rule: str) -> str:
    """What ``filter_masks`` asks for by a rule: "0.04", "quantile 0.05", "" for nothing."""
    if rule == DUPLICATES:
        return f"at most {section.duplicate_distance}"
    bound = getattr(section, rule, None)
    if isinstance(bound, BaseModel):
        return ", ".join(f"{name} {value:g}" for name, value in bound.model_dump().items())
    return f"{bound:g}" if isinstance(bound, int | float) else ""


def funnel(prompts: int, summary: Row, section: FilterMasks) -> tuple[list[Row], list[Row]]:
    """How many rows came through each step, and which threshold turned the others away."""
    steps = [
        ("prompts", prompts, ""),
        ("images sampled", summary["samples"], ""),
        ("masks kept", summary["kept"], f"{summary['rejected']:,} rejected"),
        ("used for training", summary["train"], f"{summary['val']:,} held out to watch it"),
    ]
    whole = max(prompts, 1)
    reasons = [
        {
            "rule": rule,
            "text": rule_text(rule),
            "bound": bound_text(section, rule),
            "count": count,
            "share": count / max(summary["rejected"], 1),
        }
        for rule, count in sorted(summary["reasons"].items(), key=lambda item: (-item[1], item[0]))
    ]
    return [
        {"text": text, "count": count, "share": count / whole, "note": note}
        for text, count, note in steps
    ], reasons


def class_balance(samples: Samples, names: Sequence[str], colours: dict[str, str]) -> list[Row]:
    """Each class's samples and pixels.

    In how many samples it was asked for, in how many of them it was kept, and its share of the
    pixels that the kept ones have for classes.
    """
    asked, kept = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    area = dict.fromkeys(names, 0.0)
    rows = zip(samples.column("kept"), samples.column("classes"), strict=True)
    for verdict, classes in rows:
        for one in classes:
            asked[one["name"]] += 1
            kept[one["name"]] += verdict
            area[one["name"]] += one["area"] if verdict else 0
    most, whole = max(asked.values(), default=0) or 1, sum(area.values()) or 1
    return [
        {
            "name": name,
            "colour": colours[name],
            "asked": asked[name],
            "kept": kept[name],
            "asked_share": asked[name] / most,
            "kept_share": kept[name] / most,
            "pixels": area[name] / whole,
        }
        for name in names
    ]
