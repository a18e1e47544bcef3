"""Scores to verdicts: the rules of ``filter_masks``, each over all samples at a time.

A sample is rejected by the first rule that it breaks: those of the image, then those of its
classes, class by class in the order of its prompt, then those of image and mask as a whole; last
come near duplicates and the balance of the classes, which look at what the others have left.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import compute as pc

from tasks.near_duplicates import nearest_earlier
from tasks.params import FilterMasks, Quantile, Ratio
from tasks.records import FINITE

DUPLICATES, BALANCE = "duplicates", "max_per_class"
IMAGE_RULES = ("max_dark", "min_contrast")
CLASS_RULES = (
    "min_area",
    "max_area",
    "min_peak",
    "min_margin",
    "max_entropy",
    "min_agreement",
    "max_components",
    "min_largest",
    "max_border",
)
WHOLE_RULES = ("min_similarity", "min_quality")
RULES = (FINITE, *IMAGE_RULES, *CLASS_RULES, *WHOLE_RULES, DUPLICATES, BALANCE)
"""All rules, in their order; but for the first each is a key of ``filter_masks``."""
NONE = -1


@dataclass
class Verdicts:
    """A verdict on each of N samples.

    Attributes:
        rule: position in `RULES`, or -1 for samples that are kept: ``int8 (N,)``.
        value, bound: of the rule, ``float64 (N,)``; NaN where there is none.
        subject: the class that the rule is about, or, for duplicates, the original; ``""`` for
            rules of the image.
    """

    rule: np.ndarray
    value: np.ndarray
    bound: np.ndarray
    subject: np.ndarray

    @classmethod
    def none(cls, count: int) -> "Verdicts":
        """All kept."""
        empty = np.full(count, "", object)
        value, bound = (np.full(count, np.nan) for _ in range(2))
        return cls(np.full(count, NONE, np.int8), value, bound, empty)

    @property
    def kept(self) -> np.ndarray:
        """``bool (N,)``."""
        return np.asarray(self.rule == NONE)

    def reject(self, rows: np.ndarray, rule: Any, value: Any, bound: Any, subject: Any) -> None:
        """Set the verdict of these rows; whoever has one keeps it.

        Args:
            rows: row numbers; what follows is one for all of them, or one for each.
        """
        new = self.kept[rows]
        told = ((self.rule, rule), (self.value, value), (self.bound, bound))
        for mine, given in (*told, (self.subject, subject)):
            mine[rows[new]] = given[new] if isinstance(given, np.ndarray) else given

    def reason(self, row: int) -> str:
        """The verdict in words, with its number; empty for a sample that is kept."""
        if self.rule[row] == NONE:
            return ""
        rule, subject = RULES[self.rule[row]], self.subject[row]
        value, bound = self.value[row], self.bound[row]
        if rule == FINITE:
            return "the image cannot be read, or its attention is not finite"
        if rule == DUPLICATES:
            return f"differs from {subject} in {value:.0f} bits, {rule} at most {bound:.0f}"
        if rule == BALANCE:
            return f"{subject}: number {value:.0f} of the class, {rule} {bound:.0f}"
        kind, score = rule.split("_")
        side = "below" if kind == "min" else "above"
        about = f"{subject}: " if subject else ""
        if score == "components":
            return f"{about}{score} {value:.0f} {side} {rule} {bound:.4g}"
        number, limit = _told(rule, value, bound)
        return f"{about}{score} {number} {side} {rule} {limit}"


def _told(rule: str, value: float, bound: float) -> tuple[str, str]:
    """A score and its bound with as many digits, from 3 on, as show that it is broken."""
    for digits in range(3, 10):
        number, limit = f"{value:.{digits}f}", f"{bound:.{digits + 1}g}"
        if _breaks(rule, np.array(float(number)), np.array(float(limit))):
            break
    return number, limit


def judge(scores: pa.Table, section: FilterMasks) -> Verdicts:
    """A verdict on every sample.

    A score that is null breaks no rule. With ``absent: allow`` the image need not show every class
    of its prompt: those below ``min_area`` are left out, as long as one is there.

    Args:
        scores: `tasks.records.SCORES`, in the samples' order.
    """
    verdicts = Verdicts.none(len(scores))
    classes = _Classes(scores)
    damaged = np.flatnonzero(~scores["finite"].to_numpy())
    verdicts.reject(damaged, RULES.index(FINITE), np.nan, np.nan, "")
    sound = verdicts.kept
    _judge_whole(verdicts, scores, section, IMAGE_RULES, classes.first, sound)
    classes.judge(verdicts, section, sound)
    _judge_whole(verdicts, scores, section, WHOLE_RULES, classes.first, sound)
    if section.duplicates == "reject":
        _reject_duplicates(verdicts, scores, classes.first, section.duplicate_distance)
    if section.max_per_class is not None:
        _balance(verdicts, classes, section.max_per_class)
    return verdicts


class _Classes:
    """The classes of all samples in one row: E entries.

    Attributes:
        sample: which sample each is of, ``int64 (E,)``.
        code: which class it is; ``names[code]`` is its name.
        first: the first class of each sample, ``int64 (N,)``.
    """

    def __init__(self, scores: pa.Table) -> None:
        lists = scores["classes"].combine_chunks()
        self.entries = pc.list_flatten(lists)
        self.sample = pc.list_parent_indices(lists).to_numpy()
        starts = np.searchsorted(self.sample, np.arange(len(scores)))
        coded = pc.struct_field(self.entries, "name").dictionary_encode()
        self.code = coded.indices.to_numpy()
        self.names = np.array(coded.dictionary.to_pylist(), object)
        self.first = self.code[starts]

    def judge(self, verdicts: Verdicts, section: FilterMasks, sound: np.ndarray) -> None:
        """Reject samples by the first broken rule of their first class that breaks one."""
        judged = np.full(len(self.sample), True)
        if section.absent == "allow":
            area = _numbers(pc.struct_field(self.entries, "area"))
            bounds = self._bounds(section, "min_area", area, sound)
            there = ~_breaks("min_area", area, bounds)
            any_there = np.zeros(len(verdicts.rule), bool)
            any_there[self.sample[there]] = True
            judged = there | ~any_there[self.sample]
        broken = np.full(len(self.sample), len(CLASS_RULES))
        values, limits = (np.full(len(self.sample), np.nan) for _ in range(2))
        for number, rule in reversed(list(enumerate(CLASS_RULES))):
            if getattr(section, rule) is None:
                continue
            score = _numbers(pc.struct_field(self.entries, rule.partition("_")[2]))
            bounds = self._bounds(section, rule, score, sound)
            hit = judged & _breaks(rule, score, bounds)
            broken[hit], values[hit], limits[hit] = number, score[hit], bounds[hit]
        hits = np.flatnonzero(broken < len(CLASS_RULES))
        rows, first = np.unique(self.sample[hits], return_index=True)
        at = hits[first]
        rules = RULES.index(CLASS_RULES[0]) + broken[at]
        verdicts.reject(rows, rules, values[at], limits[at], self.names[self.code[at]])

    def _bounds(
        self, section: FilterMasks, rule: str, score: np.ndarray, sound: np.ndarray
    ) -> np.ndarray:
        counted = np.where(sound[self.sample], score, np.nan)
        return _bounds(getattr(section, rule), counted, self.code)


def _judge_whole(
    verdicts: Verdicts,
    scores: pa.Table,
    section: FilterMasks,
    rules: tuple[str, ...],
    code: np.ndarray,
    sound: np.ndarray,
) -> None:
    """Reject samples by rules with one score a sample; ``code`` is the class of a quantile."""
    for rule in rules:
        values = _numbers(scores[rule.partition("_")[2]])
        bounds = _bounds(getattr(section, rule), np.where(sound, values, np.nan), code)
        broken = np.flatnonzero(_breaks(rule, values, bounds))
        verdicts.reject(broken, RULES.index(rule), values[broken], bounds[broken], "")


def _numbers(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """``float64``, NaN for null."""
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))


def _bounds(limit: float | Quantile | None, values: np.ndarray, code: np.ndarray) -> np.ndarray:
    """What each value is measured against, NaN where nothing is asked; by class for a quantile."""
    if isinstance(limit, Quantile):
        of_class = pd.Series(values).groupby(code).quantile(limit.quantile)
        return np.asarray(of_class.reindex(code))
    return np.full(len(values), np.nan if limit is None else limit)


def _breaks(rule: str, values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Where a value lies on the wrong side of its bound; never where either is NaN.

    As ``float32``, which scores are kept in: one that equals its bound is not beyond it.
    """
    values, bounds = values.astype(np.float32), bounds.astype(np.float32)
    broken: np.ndarray = values < bounds if rule.startswith("min") else values > bounds
    return broken


def _reject_duplicates(verdicts: Verdicts, scores: pa.Table, first: np.ndarray, most: int) -> None:
    """Reject near duplicates among the samples that all other rules have left.

    They are looked for anew, as a copy's nearest one may be rejected while an earlier copy is kept.
    What resembles rejected samples alone stays; what resembles a duplicate goes with it.

    Args:
        first: the first class of each sample; those of different ones are not compared.
    """
    ids, hashes = scores["sample_id"], scores["hash"]
    eligible = np.flatnonzero(verdicts.kept & hashes.is_valid().to_numpy())
    values = hashes.fill_null(0).to_numpy()
    for rows in pd.Series(eligible).groupby(first[eligible]).agg(np.array):
        nearest, bits = nearest_earlier(values[rows], most)
        found = nearest != NONE
        originals = ids.take(pa.array(rows[nearest[found]])).to_pylist()
        rule = RULES.index(DUPLICATES)
        verdicts.reject(rows[found], rule, bits[found], most, np.array(originals, object))


def _balance(verdicts: Verdicts, classes: "_Classes", most: int | Ratio) -> None:
    """Keep only the first so many of each first class, so that a larger run keeps the same ones."""
    rows = np.flatnonzero(verdicts.kept)
    if not len(rows):
        return
    code = classes.first[rows]
    number = pd.Series(rows).groupby(code).cumcount().to_numpy() + 1
    if isinstance(most, Ratio):
        most = int(most.ratio * np.bincount(code)[np.unique(code)].min())
    over = number > most
    subjects = classes.names[code[over]]
    verdicts.reject(rows[over], RULES.index(BALANCE), number[over], most, subjects)
