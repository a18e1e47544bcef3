"""What a grid's runs say together: means, deviations, gains, claims; as a table and a plot.

Gains are paired: the same seed of the setting and of the baseline, so that what a seed makes easy
or hard for both cancels out.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from matplotlib.figure import Figure

from flows.grids import Claim, Grid
from tasks.strict_json import strict_json

Row = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """A claim, what was measured, the bound, and whether it holds.

    What was measured is NaN where no run of the claim is finished, or where it is a share of 0, and
    a bound by deviation where one pair is.
    """

    name: str
    value: float
    bound: float
    holds: bool


def by_setting(grid: Grid, rows: list[Row]) -> dict[str, dict[int, float]]:
    """Setting -> seed -> what was measured, settings in the grid's order; only finished runs."""
    values: dict[str, dict[int, float]] = {name: {} for name in grid.settings}
    for row in rows:
        values[row["setting"]][row["seed"]] = row["value"]
    return {name: dict(sorted(found.items())) for name, found in values.items() if found}


def gains(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """The differences over the seeds that both have."""
    return [ours[seed] - theirs[seed] for seed in ours if seed in theirs]


def deviation(values: list[float]) -> float:
    """The sample standard deviation; 0 of a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def summarise(grid: Grid, rows: list[Row]) -> list[Row]:
    """A row for each setting: mean, deviation and gain of the measure, and means of the others."""
    values = by_setting(grid, rows)
    table = []
    for name, found in values.items():
        gained = gains(found, values.get(grid.baseline, {}))
        mine = [row for row in rows if row["setting"] == name]
        table.append(
            {
                "setting": name,
                "mean": round(mean(found.values()), 4),
                "deviation": round(deviation(list(found.values())), 4),
                "gain": round(mean(gained), 4) if gained and name != grid.baseline else "",
                "its deviation": (
                    round(deviation(gained), 4) if gained and name != grid.baseline else ""
                ),
                "by seed": ", ".join(f"{value:.4f}" for value in found.values()),
                **{key: _mean_of(mine, key) for key in grid.also},
            }
        )
    return table


def _mean_of(rows: list[Row], key: str) -> float | str:
    numbers = [row[key] for row in rows if row[key] is not None]
    return round(mean(numbers), 4) if numbers else ""


def judge(grid: Grid, rows: list[Row]) -> list[Verdict]:
    """The claims, over the seeds that both settings have; one with too few runs does not hold."""
    values = by_setting(grid, rows)
    return [_judge(claim, values) for claim in grid.claims]


def _judge(claim: Claim, values: Mapping[str, Mapping[int, float]]) -> Verdict:
    ours, nothing = values.get(claim.setting, {}), float("nan")
    if claim.of is not None:
        assert claim.share is not None  # given together
        theirs = values.get(claim.of, {})
        both = [seed for seed in ours if seed in theirs]
        share, told = nothing, f"{claim.setting}, share of {claim.of}"
        if both:
            whole = mean(theirs[seed] for seed in both)
            if whole:
                share = mean(ours[seed] for seed in both) / whole
            else:
                told += ", whose mean is 0"
        return Verdict(told, round(share, 4), claim.share, share >= claim.share)
    assert claim.above is not None
    gained = gains(ours, values.get(claim.above, {}))
    gain = mean(gained) if gained else nothing
    told = f"{claim.setting} above {claim.above}"
    if isinstance(claim.by, str):
        # A single pair has no deviation, and shows nothing of it.
        spread = deviation(gained) if len(gained) > 1 else nothing
        bound = spread * (-1 if claim.by.startswith("-") else 1)
        told += f"; bound: {claim.by.replace('-', 'less ')} of the gain"
    else:
        bound = claim.by
    return Verdict(told, round(gain, 4), round(bound, 4), gain >= bound)


def markdown(grid: Grid, rows: list[Row]) -> str:
    """The table and the claims as Markdown."""
    parts = [grid.title, "", _table(summarise(grid, rows))]
    verdicts = judge(grid, rows)
    if verdicts:
        parts += ["", _table([vars(verdict) for verdict in verdicts])]
    return "\n".join(parts) + "\n"


def _table(rows: list[Row]) -> str:
    if not rows:
        return "No run is finished."
    lines = ["| " + " | ".join(rows[0]) + " |", "| " + " | ".join("---" for _ in rows[0]) + " |"]
    for row in rows:
        told = [
            "yes" if value is True else "NO" if value is False else value for value in row.values()
        ]
        lines.append("| " + " | ".join(map(str, told)) + " |")
    return "\n".join(lines)


def draw(grid: Grid, rows: list[Row], path: Path) -> None:
    """The plot: every run as a point, means as a line or bars, deviations as a band or whiskers."""
    values = by_setting(grid, rows)
    names = list(values)
    means = [mean(found.values()) for found in values.values()]
    spreads = [deviation(list(found.values())) for found in values.values()]
    figure = Figure(figsize=(7, 0.45 * len(names) + 1.6) if grid.axis is None else (7, 4.2))
    axes = figure.subplots()
    if grid.axis is not None:
        places = [float(name) for name in names]
        axes.fill_between(
            places,
            [m - s for m, s in zip(means, spreads, strict=True)],
            [m + s for m, s in zip(means, spreads, strict=True)],
            alpha=0.2,
        )
        axes.plot(places, means, marker="o")
        for place, found in zip(places, values.values(), strict=True):
            axes.plot([place] * len(found), list(found.values()), ".", color="0.4", markersize=4)
        axes.set_xlabel(grid.axis)
        axes.set_ylabel(grid.measure)
        axes.grid(alpha=0.3)
    else:
        heights = list(range(len(names)))[::-1]
        axes.barh(heights, means, xerr=spreads, height=0.6, alpha=0.5, capsize=3)
        for height, found in zip(heights, values.values(), strict=True):
            axes.plot(list(found.values()), [height] * len(found), ".", color="0.2", markersize=5)
        axes.set_yticks(heights, names)
        axes.set_xlabel(grid.measure)
        axes.grid(axis="x", alpha=0.3)
    axes.set_title(grid.title, fontsize=9, loc="left", wrap=True)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def write(grid: Grid, rows: list[Row], folder: Path) -> None:
    """``runs.csv`` with a row for each run, ``table.md``, ``plot.svg`` and ``result.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    if rows:
        with open(folder / "runs.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        draw(grid, rows, folder / "plot.svg")
    (folder / "table.md").write_text(markdown(grid, rows), encoding="utf-8")
    result = {
        "title": grid.title,
        "table": summarise(grid, rows),
        "claims": [vars(verdict) for verdict in judge(grid, rows)],
    }
    (folder / "result.json").write_text(strict_json(result) + "\n", encoding="utf-8")
