"""Builds ``benchmarks/README.md`` and the results in ``README.md`` from the records.

``python -m benchmarks.readme``; no number of these is typed by hand.
"""

import json
import re
from pathlib import Path
from typing import Any

import cyclopts

from benchmarks.record import RESULTS, cell
from flows.grids import Grid, grid_names, read_grid
from tasks.presets import preset_path

ROOT = Path(__file__).parents[1]
HEAD = """# Measurements

Built by `python -m benchmarks.readme` from `benchmarks/results/`; do not edit. A bar is a bound
that the measurement must keep: the command ends with status 1 when one does not hold.
"""
BEGIN, END = "<!-- python -m benchmarks.readme writes this -->\n", "<!-- up to here -->\n"
"""Around the results in README.md."""
STORIES = ("ladder", "street", "techniques", "baselines")
"""The grids whose means stand first in README.md."""
FEW = 4
"""As many named settings are told in a line, more in a table."""
BUDGETS = {
    "fewer iterations than the preset": ("train_segmenter", "iterations"),
    "fewer images": ("expand_prompts", "images_per_class"),
}
"""Keys of a grid's ``common`` that make its means lower than another's, and how they are told."""

Result = dict[str, Any]


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """Rows with the same keys as a Markdown table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "| " + " | ".join("---" for _ in rows[0]) + " |"]
    lines += ["| " + " | ".join(map(cell, row.values())) + " |" for row in rows]
    return "\n".join(lines)


def section(name: str, result: Result) -> str:
    """A benchmark's latest result: what ran, its rows, its bars."""
    ran = dict(result["ran"])
    versions = ", ".join(f"{key} {value}" for key, value in ran.pop("versions").items())
    facts = [f"* {key}: {value}" for key, value in ran.items() if key != "command"]
    return "\n".join(
        [
            f"## {name}",
            "",
            f"    {ran['command']}",
            "",
            *facts,
            f"* versions: {versions}",
            "",
            markdown_table(result["rows"]),
            "",
            *([markdown_table(result["bars"]), ""] if result["bars"] else []),
        ]
    )


def read_results(folder: Path = RESULTS) -> dict[str, Result]:
    """The results by name."""
    files = sorted(folder.glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}


def build(folder: Path = RESULTS) -> str:
    """The whole page of measurements."""
    results = read_results(folder)
    return "\n".join([HEAD, *(section(name, result) for name, result in results.items())])


def headline(
    evaluation: dict[str, Any],
    quality: dict[str, Any],
    results: dict[str, Result],
    grids: dict[str, Grid],
) -> str:
    """The results that README.md shows: the demo, the paper's story, and the bars that are missed.

    Args:
        evaluation: ``metrics/evaluation.json`` of the demo.
        quality: ``quality.json`` of the base model.
        results: by name, see `read_results`.
        grids: what there is to compare.
    """
    parts = [
        f"`make demo`, IoU on {evaluation['images']} labelled images that no network saw "
        "(`metrics/evaluation.json`):",
        _table_of_classes(evaluation),
        f"The mIoU is {evaluation['ratio']:.2f} of the reference's. {_demo(results['demo'])} "
        f"Of the base model's images for {quality['prompts']} prompts, "
        f"{quality['prompted_class_largest']:.0%} show the prompted class as the largest thing, "
        "as a segmenter trained on drawn images sees them; the word's attention above "
        f"{quality['threshold']:g} of its range overlaps with what it sees by a mean IoU of "
        f"{quality['map_iou']:.2f}, before any refinement "
        "(`python -m storybook.base_model.quality`).",
    ]
    if gap := results.get("gap"):
        parts.append(_gap(gap))
    recorded = {name: results.get(f"compare_{name}") for name in grids}
    measured = {
        name: found
        for name, found in recorded.items()
        if found and [row["setting"] for row in found["rows"]] == list(grids[name].settings)
    }
    first = [name for name in STORIES if name in measured]
    stories = [_story(name, measured[name]) for name in dict.fromkeys([*first, *measured])]
    if stories:
        told = budgets({name: grids[name] for name in measured})
        seeds = min(len(grids[name].seeds) for name in measured)
        parts += [
            f"mIoU in whole runs (`make compare`), mean and deviation over {seeds} seeds of "
            "prompts and training; in brackets the gain above the first, seed by seed. A mean "
            f"compares with those of its own grid{told}.",
            *stories,
        ]
    if pretraining := results.get("pretraining"):
        parts.append(_pretraining(pretraining))
    if missing := [name for name, found in recorded.items() if not found]:
        parts.append(f"Grids of `make compare` that are not measured yet: {', '.join(missing)}.")
    if others := [name for name, found in recorded.items() if found and name not in measured]:
        parts.append(
            "Grids whose settings are others than those that were measured, so not measured in "
            f"their present form yet: {', '.join(others)}."
        )
    bars = [{"benchmark": name, **bar} for name in results for bar in results[name]["bars"]]
    missed = [
        {"missed": f"`{bar['benchmark']}`: {bar['name']}"}
        | {key: bar[key] for key in ("value", "bound")}
        for bar in bars
        if not bar["holds"]
    ]
    held = f"{len(bars) - len(missed)} of {len(bars)} bars"
    parts.append(f"{held} in [benchmarks/README.md](benchmarks/README.md) hold.")
    if missed:
        parts.append(markdown_table(missed))
    return "\n\n".join(parts) + "\n"


def _story(name: str, result: Result) -> str:
    """A grid's means: numbers side by side, names in a line where there are few, else below."""
    means = {
        row["setting"]: f"{row['mean']:.3f} ± {row['deviation']:.3f}" for row in result["rows"]
    }
    if all(re.fullmatch(r"[\d.]+", setting) for setting in means):
        return markdown_table([{name: "mIoU", **means}])
    if len(means) <= FEW:
        gains = {
            row["setting"]: f" ({row['gain']:+.3f} ± {row['its deviation']:.3f})"
            for row in result["rows"]
            if row["gain"] != ""
        }
        return f"* {name}: " + "; ".join(
            f"{setting} {told}{gains.get(setting, '')}" for setting, told in means.items()
        )
    return markdown_table([{name: setting, "mIoU": told} for setting, told in means.items()])


def budgets(grids: dict[str, Grid]) -> str:
    """Which grids take less than the preset; empty where none does."""
    told = []
    for less, (section, key) in BUDGETS.items():
        names = [
            name for name, grid in grids.items() if key in grid.common.changes.get(section, {})
        ]
        if names:
            told.append(f"{less} in {', '.join(names)}")
    return f": there are {', and '.join(told)}" if told else ""


def _demo(result: Result) -> str:
    """Time and memory of `benchmarks.demo`, in a sentence."""
    values = {bar["name"]: bar["value"] for bar in result["bars"]}
    minutes, memory = values["make demo, minutes"], values["peak memory, GiB"]
    return (
        f"The demo took {minutes:.0f} minutes, once installed, and {memory:.1f} GiB "
        f"(`{result['ran']['command']}`, {result['ran']['date']})."
    )


def _gap(result: Result) -> str:
    """What `benchmarks.gap` says: by things on a page, and the best and the worst kind."""
    shares = {row["things"]: row["share"] for row in result["rows"]}
    kinds = [name for name in shares if "(" in name]
    best, worst = max(kinds, key=shares.__getitem__), min(kinds, key=shares.__getitem__)
    pages = ", ".join(
        f"{share:.2f} for one {name}" for name, share in shares.items() if name not in kinds
    )
    return (
        f"A thing's IoU, as a share of that in the reference's answers: {pages}; by kind from "
        f"{shares[best]:.2f}, {best}, to {shares[worst]:.2f}, {worst} "
        f"(`{result['ran']['command']}`)."
    )


def _pretraining(result: Result) -> str:
    """What `benchmarks.pretraining` says, in a line."""
    told: dict[str, list[str]] = {}
    for row in result["rows"]:
        mean, spread = row["mIoU, mean"], row["standard deviation"]
        told.setdefault(row["images of a class"], []).append(
            f"{row['start']} {mean:.3f} ± {spread:.3f}"
        )
    parts = [f"with {images} images of a class " + "; ".join(of) for images, of in told.items()]
    return f"* pretraining on 24 kinds (`{result['ran']['command']}`): {', '.join(parts)}"


def compared(root: Path) -> dict[str, Grid]:
    """The grids whose results are recorded, all but the one that is for a try."""
    return {name: read_grid(name, root) for name in grid_names(root) if name != "quick"}


def _table_of_classes(evaluation: dict[str, Any]) -> str:
    """A row for each network that was measured: IoU by class, and their mean."""
    rows = []
    for trained_on, ious, mean in (
        ("synthetic images only", "per_class", "miou"),
        ("real labels: the reference", "reference_per_class", "reference_miou"),
    ):
        shown = {**evaluation[ious], "**mIoU**": evaluation[mean]}
        rows.append({"trained on": trained_on} | {k: f"{v:.3f}" for k, v in shown.items()})
    return markdown_table(rows)


def with_results(readme: str, told: str) -> str:
    """README.md with other results between `BEGIN` and `END`.

    Raises:
        ValueError: it has no place for them.
    """
    before, _, rest = readme.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"README.md: no place for the results, {BEGIN.strip()} ... {END.strip()}")
    return f"{before}{BEGIN}{told}{END}{after}"


def main() -> None:
    """Write benchmarks/README.md and the results in README.md.

    Raises:
        SystemExit: the last run was not the demo, so README.md stays as it is.
    """
    (Path(__file__).parent / "README.md").write_text(build(), encoding="utf-8")
    if (ROOT / "params.yaml").read_bytes() != preset_path("storybook", ROOT).read_bytes():
        raise SystemExit("README.md shows the demo: choose the preset storybook, run `make demo`")
    evaluation = json.loads((ROOT / "metrics/evaluation.json").read_text(encoding="utf-8"))
    quality = json.loads((ROOT / "models/storybook-sd/quality.json").read_text(encoding="utf-8"))
    told = headline(evaluation, quality, read_results(), compared(ROOT))
    page = ROOT / "README.md"
    page.write_text(with_results(page.read_text(encoding="utf-8"), told), encoding="utf-8")


if __name__ == "__main__":
    cyclopts.run(main)
