"""What a run leaves to read: the result table and the stages' times, as rows, Markdown and rich."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Group
from rich.table import Table

ADAPTATION = Path("metrics/adaptation.json")
EVALUATION = Path("metrics/evaluation.json")
FILTER = Path("metrics/filter.json")
REPORT = Path("report/index.html")

Outcome = Literal["ran", "restored", "unchanged", "failed", "cancelled"]
Row = dict[str, str]


@dataclass(frozen=True)
class StageRun:
    """What became of one stage: it ran, came from DVC's run cache, or had nothing to do."""

    stage: str
    outcome: Outcome
    seconds: float


def read_evaluation(root: Path = Path()) -> dict[str, Any] | None:
    """``metrics/evaluation.json``, or None where there is none."""
    try:
        evaluation: dict[str, Any] = json.loads((root / EVALUATION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return evaluation


def adaptation_sentence(root: Path = Path()) -> str | None:
    """What the LoRA adaptation of this run changed; None where nothing was trained."""
    try:
        measured: dict[str, Any] = json.loads((root / ADAPTATION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if measured["fall"] is None:
        return None
    return (
        f"Adapted to {measured['images']:,} images in {measured['steps']:,} steps: held-out "
        f"denoising loss {measured['held_out_loss_before']:.4f} before, "
        f"{measured['held_out_loss_after']:.4f} after, {measured['fall'] * 100:.1f} % less"
    )


def result_rows(evaluation: dict[str, Any]) -> list[Row]:
    """IoU (0..1) by class, then their mean and the ratio of the two means; "-" = not measured."""
    synthetic = evaluation.get("per_class") or {}
    reference = evaluation.get("reference_per_class") or {}
    pairs = [
        (name, synthetic.get(name), reference.get(name)) for name in {**synthetic, **reference}
    ]
    pairs.append(("mIoU", evaluation["miou"], evaluation["reference_miou"]))
    pairs.append(("ratio", evaluation["ratio"], None))
    return [
        {"class": name, "synthetic only": _number(ours), "reference": _number(theirs)}
        for name, ours, theirs in pairs
    ]


def funnel_rows(root: Path = Path()) -> list[Row]:
    """How many samples came through each step, and which rules turned the others away."""
    found: dict[str, Any] = json.loads((root / FILTER).read_text(encoding="utf-8"))
    steps = [
        ("images sampled", found["samples"]),
        *((f"rejected by {rule}", -count) for rule, count in found["reasons"].items()),
        ("masks kept", found["kept"]),
        ("held out to watch the training", -found["val"]),
        ("used for training", found["train"]),
    ]
    return [{"step": step, "samples": f"{count:,}"} for step, count in steps]


def result_view(evaluation: dict[str, Any], adaptation: str | None = None) -> Group:
    """The result for a terminal: what was measured on, the table, what was not measured.

    Args:
        evaluation: see `read_evaluation`.
        adaptation: see `adaptation_sentence`.
    """
    images, test_set = evaluation["images"], evaluation["test_set"]
    title = f"IoU on {images} labelled images of {test_set}" if images else "No test set"
    table = Table("class")
    table.add_column("synthetic only", justify="right")
    table.add_column("reference", justify="right")
    for row in result_rows(evaluation):
        if row["class"] == "mIoU":
            table.add_section()
        table.add_row(*row.values())
    adapted = [adaptation] if adaptation else []
    return Group(title, table, *evaluation["not_measured"], *adapted)


def stages_markdown(runs: list[StageRun]) -> str:
    """The stages' outcomes and times as a Markdown table."""
    lines = ["| stage | outcome | seconds |", "| --- | --- | ---: |"]
    lines += [f"| {run.stage} | {run.outcome} | {run.seconds:.1f} |" for run in runs]
    lines.append(f"| all | | {sum(run.seconds for run in runs):.1f} |")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
