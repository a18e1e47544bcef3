"""What ``filter_masks`` asked of a sample's scores, rule by rule: the other half of a verdict.

`tasks.verdicts` decides over all samples at a time and keeps the number of the rule that was
broken. This tells the bounds that held too. Imports neither torch nor pandas.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

WHOLE_SCORES = ("dark", "contrast", "similarity", "quality")
"""Scores of image and mask as a whole that have rules; the other rules ask each class."""
CLASS_SCORES = (
    "area",
    "peak",
    "margin",
    "entropy",
    "agreement",
    "components",
    "largest",
    "border",
)
ABSENT = "absent, as filter_masks.absent allows"

Row = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """A bound that ``filter_masks`` sets.

    Attributes:
        key: in ``filter_masks``, such as ``min_area``.
        limit: the bound, unless it is a quantile.
        quantile: of the class's scores, unless the bound is a number.
    """

    key: str
    limit: float | None
    quantile: float | None

    @property
    def score(self) -> str:
        """What is measured, such as ``area``."""
        return self.key.partition("_")[2]

    @property
    def is_least(self) -> bool:
        """Whether smaller scores break it; else larger ones do."""
        return self.key.startswith("min_")

    @property
    def of_class(self) -> bool:
        """Whether each class of a sample is asked; else the sample is."""
        return self.score in CLASS_SCORES

    def holds(self, value: float | None, bound: float | None) -> bool | None:
        """Whether a score is on the right side; None where there is nothing to compare.

        As ``float32``, which scores are kept in: see `tasks.verdicts`.
        """
        if value is None or bound is None:
            return None
        score, limit = np.float32(value), np.float32(bound)
        return bool(score >= limit if self.is_least else score <= limit)


def rules_of(section: Row) -> Iterator[Rule]:
    """The rules that are on.

    Args:
        section: ``filter_masks``, as plain values.
    """
    for key, limit in section.items():
        score = key.partition("_")[2]
        if limit is None or key[:4] not in ("min_", "max_"):
            continue
        if score in WHOLE_SCORES or score in CLASS_SCORES:
            quantile = limit.get("quantile") if isinstance(limit, dict) else None
            yield Rule(key, None if isinstance(limit, dict) else float(limit), quantile)


def quantile_bounds(rule: Rule, scores: pa.Table) -> dict[str, float]:
    """Class -> the bound of a rule that asks for a quantile, as `tasks.verdicts` finds it.

    Args:
        rule: with a ``quantile``.
        scores: of all samples, `tasks.records.SCORES`; damaged ones do not count.
    """
    sound = scores.filter(scores["finite"])
    lists = sound["classes"].combine_chunks()
    # To make arrays of NumPy or scalars, pyarrow imports pandas, which takes longer than all this.
    if rule.of_class:
        inside = pc.list_flatten(lists)
        names, values = (pc.struct_field(inside, name) for name in ("name", rule.score))
    else:
        first = pc.list_flatten(pc.list_slice(lists, 0, 1))
        names, values = pc.struct_field(first, "name"), sound[rule.score]
    told = values.is_valid()
    coded = _one_array(names.filter(told)).dictionary_encode()
    codes = np.from_dlpack(coded.indices)
    numbers = np.from_dlpack(_one_array(values.filter(told).cast(pa.float64())))
    known = ~np.isnan(numbers)
    return {
        name: _quantile(np.sort(numbers[mine]), rule.quantile or 0.0)
        for code, name in enumerate(coded.dictionary.to_pylist())
        if (mine := known & (codes == code)).any()
    }


def _one_array(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _quantile(ordered: np.ndarray, share: float) -> float:
    """Between the two next to it, in pandas' arithmetic: NumPy's differs in the last bit."""
    place, part = divmod(share * (len(ordered) - 1), 1)
    at = int(place)
    value = ordered[at]
    return float(value + (ordered[at + 1] - value) * part if part else value)


def read_scores(path: Path, rule: Rule) -> pa.Table:
    """The columns of ``data/scores/index.parquet`` that `quantile_bounds` looks at."""
    inside = "classes.list.element"
    own = f"{inside}.{rule.score}" if rule.of_class else rule.score
    with parquet.ParquetFile(path) as file:
        return file.read(columns=["finite", f"{inside}.name", own])


def judged(section: Row, scores: Row, classes: list[Row], table: Path | None) -> list[Row]:
    """A sample's scores beside the bounds that it was held against.

    Args:
        section: ``filter_masks``, as the verdicts were made with it.
        scores: the sample's row of ``data/scores``.
        classes: the scores of its classes.
        table: ``data/scores/index.parquet``, which quantiles are of; None where it is not here.

    Returns:
        ``rule``, ``class`` (None for the sample as a whole), ``value``, ``bound`` and ``quantile``
        (None where it is not known, or the bound is none), ``holds`` (None where nothing could be
        compared) and ``note``, why a bound that is not met rejects nothing.
    """
    rows: list[Row] = []
    for rule in rules_of(section):
        bounds: dict[str, float] = {}
        if rule.quantile is not None and table is not None:
            bounds = quantile_bounds(rule, read_scores(table, rule))
        for one in classes if rule.of_class else classes[:1]:
            value = (one if rule.of_class else scores).get(rule.score)
            bound = rule.limit if rule.quantile is None else bounds.get(one["name"])
            rows.append(
                {
                    "rule": rule.key,
                    "class": one["name"] if rule.of_class else None,
                    "value": value,
                    "bound": bound,
                    "quantile": rule.quantile,
                    "holds": rule.holds(value, bound),
                    "note": None,
                }
            )
    if section.get("absent") == "allow":
        _excuse(rows)
    return rows


def _excuse(rows: list[Row]) -> None:
    """Take the classes below ``min_area`` out, as long as one is there."""
    areas = {row["class"]: row["holds"] for row in rows if row["rule"] == "min_area"}
    if True not in areas.values():
        return
    for row in rows:
        if areas.get(row["class"]) is False:
            row |= {"holds": None, "note": ABSENT}
