"""Choosing the bounds of ``filter_masks`` where it is known which samples should be rejected."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from tasks.verdicts import WHOLE_RULES


def as_threshold(rule: str, bound: float) -> float:
    """A bound of `worst` as ``filter_masks`` takes it."""
    return bound if rule.startswith("min") else -bound


def worst(scores: pa.Table, rule: str) -> np.ndarray:
    """What a rule looks at, so that less is worse: ``float64 (N,)``; NaN where there is nothing."""
    kind, score = rule.split("_")
    sign = 1 if kind == "min" else -1
    if rule in WHOLE_RULES:
        return sign * np.asarray(scores[score].cast(pa.float64()))
    lists = scores["classes"].combine_chunks()
    values = pc.struct_field(pc.list_flatten(lists), score).cast(pa.float64())
    found = np.full(len(scores), np.inf)
    sample = pc.list_parent_indices(lists).to_numpy()
    np.fmin.at(found, sample, sign * values.to_numpy(zero_copy_only=False))
    return np.where(np.isinf(found), np.nan, found)


class Found(NamedTuple):
    """How well rejected samples are the spoiled ones."""

    precision: float
    recall: float

    @property
    def worth(self) -> tuple[float, float]:
        """The lesser of the two, as both are asked for; then F1."""
        total = self.precision + self.recall
        f1 = 2 * self.precision * self.recall / total if total else 0.0
        return min(self), f1


def compare(rejected: np.ndarray, spoiled: np.ndarray) -> Found:
    """Precision (1 where nothing is rejected) and recall of ``bool (N,)``."""
    right = int((rejected & spoiled).sum())
    return Found(right / int(rejected.sum()) if rejected.any() else 1.0, right / int(spoiled.sum()))


def best_bound(score: np.ndarray, spoiled: np.ndarray, already: np.ndarray) -> tuple[float, Found]:
    """The bound below which rejecting is worth most, together with those ``already`` rejected.

    It lies in the middle between two scores.
    """
    values = np.unique(score[np.isfinite(score)])
    tried = [(values[0] - 1, compare(already, spoiled))] if len(values) else []
    for low, high in pairwise(values):
        bound = (low + high) / 2
        tried.append((bound, compare(already | (score < bound), spoiled)))
    return max(tried, key=lambda one: one[1].worth)


def choose_together(
    scores: pa.Table, spoiled: np.ndarray, rules: Sequence[str]
) -> dict[str, float]:
    """Rules with their bounds, the best first, as long as one more is worth more."""
    chosen: dict[str, float] = {}
    rejected = np.zeros(len(scores), bool)
    best = (0.0, 0.0)
    while True:
        tries = {
            rule: best_bound(worst(scores, rule), spoiled, rejected)
            for rule in rules
            if rule not in chosen and np.isfinite(worst(scores, rule)).any()
        }
        if not tries:
            return chosen
        rule = max(tries, key=lambda name: tries[name][1].worth)
        bound, found = tries[rule]
        if found.worth <= best:
            return chosen
        best, chosen[rule] = found.worth, as_threshold(rule, bound)
        rejected |= worst(scores, rule) < bound
