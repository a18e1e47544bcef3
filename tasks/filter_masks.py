"""Stage ``filter_masks``: scores to verdicts. Every sample keeps its row, with the reason.

Reads manifests only, no image. Also splits the kept samples: those of one text lie on one side, so
that the held-out part holds no twin of a training image.
"""

import logging
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import pandas as pd
import pyarrow as pa
from cyclopts import Parameter
from pyarrow import compute as pc
from pyarrow import parquet
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks import records
from tasks.entry import run_stage
from tasks.filter_settings import with_settings
from tasks.params import FilterMasks, InputError, Params
from tasks.shards import addresses
from tasks.verdicts import BALANCE, RULES, Verdicts, judge

log = logging.getLogger(__name__)

OVERSTRICT = 0.5
"""The share of the samples beyond which a rule's fixed bound is more likely one for other masks."""
FEW = 10
"""Classes with too few samples that the log names."""


def split_of(text: str, section: FilterMasks) -> str:
    """``val`` for a share ``val_share`` of the prompts' texts, by hash, else ``train``."""
    place = records.content_seed("split", section.seed, text) / 2**63
    return "val" if place < section.val_share else "train"


def decide(
    samples: pa.Table, masks: pa.Table, prompts: pa.Table, scores: pa.Table, section: FilterMasks
) -> tuple[Verdicts, pa.Table]:
    """A verdict on every sample, and the columns of `tasks.records.DATASET` but for the reason.

    Args:
        samples, masks, prompts, scores: the manifests; the order is that of ``samples``.

    Raises:
        InputError: a manifest lacks a sample.
    """
    ids = samples["sample_id"]
    masks = records.join(masks, "sample_id", ids, "data/masks")
    scores = records.join(scores, "sample_id", ids, "data/scores")
    texts = records.join(prompts, "prompt_id", samples["prompt_id"], "data/prompts.parquet")["text"]
    verdicts = judge(scores, section)
    kept_texts = texts.filter(pa.array(verdicts.kept)).combine_chunks().dictionary_encode()
    sides = [split_of(text, section) for text in kept_texts.dictionary.to_pylist()]
    split = np.full(len(ids), "", object)
    split[verdicts.kept] = np.array(sides, object)[kept_texts.indices.to_numpy()]
    rule_names = np.array([*RULES, ""], object)
    return verdicts, pa.table(
        {
            "sample_id": ids,
            "prompt_id": samples["prompt_id"],
            "text": texts,
            "classes": scores["classes"],
            "kept": verdicts.kept,
            "rule": rule_names[verdicts.rule],
            "value": pa.array(verdicts.value, from_pandas=True),
            "bound": pa.array(verdicts.bound, from_pandas=True),
            "split": split,
            "image": addresses(samples, "image"),
            "attention": addresses(samples, "attention"),
            "label": addresses(masks, "label"),
            "reliability": addresses(masks, "reliability"),
            "uncertainty": addresses(masks, "uncertainty"),
        }
    )


def with_reasons(verdicts: Verdicts, table: pa.Table) -> Iterator[pa.Table]:
    """The finished table in parts, so that the reasons of a part alone are held as text."""
    for first in range(0, len(table), records.ROW_GROUP):
        part = table.slice(first, records.ROW_GROUP)
        reasons = [""] * len(part)
        for at in np.flatnonzero(~part["kept"].to_numpy()):
            reasons[at] = verdicts.reason(first + int(at))
        yield part.append_column("reason", pa.array(reasons, pa.string()))


def summarise(table: pa.Table, class_names: list[str], least: int) -> dict[str, Any]:
    """The funnel: how many were kept, and which rule rejected the others.

    Args:
        table: of `decide`.
        least: kept samples from which on a class has enough.
    """
    kept = table.filter(table["kept"])
    names = pc.struct_field(pc.list_flatten(kept["classes"]), "name")
    per_class = {one["values"]: one["counts"] for one in pc.value_counts(names).to_pylist()}
    reasons = pd.Series(table["rule"].to_pylist()).value_counts().drop("", errors="ignore")
    counts = {name: per_class.get(name, 0) for name in class_names}
    return {
        "samples": len(table),
        "kept": len(kept),
        "rejected": len(table) - len(kept),
        "reasons": {rule: int(reasons[rule]) for rule in sorted(reasons.index)},
        "kept_per_class": counts,
        "too_few": {name: count for name, count in counts.items() if count < least},
        "train": pc.sum(pc.equal(kept["split"], "train")).as_py() or 0,
        "val": pc.sum(pc.equal(kept["split"], "val")).as_py() or 0,
    }


def _manifests(root: Path) -> tuple[pa.Table, pa.Table, pa.Table, pa.Table]:
    """Samples, masks, prompts and scores."""
    return (
        parquet.read_table(root / "data/samples/index.parquet"),
        parquet.read_table(root / "data/masks/index.parquet"),
        parquet.read_table(root / "data/prompts.parquet", columns=["prompt_id", "text"]),
        parquet.read_table(root / "data/scores/index.parquet"),
    )


def run(params: Params, root: Path = Path()) -> None:
    """Write ``data/dataset`` and ``metrics/filter.json``.

    Raises:
        InputError: nothing was kept for training.
    """
    section, names = params.filter_masks, params.expand_prompts.class_names
    verdicts, table = decide(*_manifests(root), section)
    summary = summarise(table, names, section.min_per_class)
    records.write_json(root / "metrics/filter.json", summary)
    if not summary["train"]:
        raise InputError(
            f"filter_masks: none of {len(table)} samples is left for training, rejected by "
            f"{summary['reasons']}; loosen these thresholds in params.yaml"
        )
    for rule in overstrict(summary, section):
        log.warning(
            "%s rejects %d of %d samples: its bound %s may be one for other masks; see what a "
            "share of each class would do, python -m tasks.filter_masks "
            "--preview '%s={quantile: %s}'",
            rule,
            summary["reasons"][rule],
            summary["samples"],
            getattr(section, rule),
            rule,
            0.05 if rule.startswith("min_") else 0.95,
        )
    few = summary["too_few"]
    if few:
        told = ", ".join(f"{name} ({count})" for name, count in list(few.items())[:FEW])
        log.warning(
            "fewer than min_per_class %d samples were kept of %d classes: %s%s; sample more of "
            "them, or loosen filter_masks",
            section.min_per_class,
            len(few),
            told,
            ", ..." if len(few) > FEW else "",
        )
    log.info("%s", in_words(summary))
    out = root / "data/dataset"
    shutil.rmtree(out, ignore_errors=True)
    records.write_json(out / "classes.json", params.expand_prompts.label_names)
    records.write_columns(out / "index.parquet", with_reasons(verdicts, table), records.DATASET)


def overstrict(summary: dict[str, Any], section: FilterMasks) -> list[str]:
    """The rules with a fixed bound that alone reject most samples of a funnel."""
    most = OVERSTRICT * summary["samples"]
    return [
        rule
        for rule, count in summary["reasons"].items()
        if rule != BALANCE
        and count > most
        and isinstance(getattr(section, rule, None), int | float)
    ]


def in_words(summary: dict[str, Any]) -> str:
    """The funnel in a line."""
    reasons = ", ".join(f"{rule} {count:,}" for rule, count in summary["reasons"].items())
    return (
        f"{summary['kept']:,} of {summary['samples']:,} samples kept, {summary['train']:,} to "
        f"train on and {summary['val']:,} held out; rejected by: {reasons or 'no rule'}"
    )


def show_preview(params: Params, settings: tuple[str, ...], root: Path = Path()) -> None:
    """Print what params.yaml, with other values, would keep, beside what ``data/dataset`` does."""
    section, names = with_settings(params, settings).filter_masks, params.expand_prompts.class_names
    dataset = root / "data/dataset/index.parquet"
    if not dataset.is_file():
        raise InputError(f"{dataset}: is not there to compare with; run `dvc repro filter_masks`")
    columns = ["classes", "kept", "rule", "split"]
    before = summarise(parquet.read_table(dataset, columns=columns), names, section.min_per_class)
    after = summarise(decide(*_manifests(root), section)[1], names, section.min_per_class)
    console = Console(highlight=False)
    for title, of in (("kept", "kept_per_class"), ("rejected by", "reasons")):
        table = Table(title, "data/dataset", "preview", "change", box=None, pad_edge=False)
        for name in {**before[of], **after[of]}:
            counts = (before[of].get(name, 0), after[of].get(name, 0))
            change = f"{counts[1] - counts[0]:+,}" if counts[0] != counts[1] else ""
            table.add_row(escape(name), *(f"{count:,}" for count in counts), change)
        console.print(table, "")
    decided = f"set {', '.join(settings)} under filter_masks in params.yaml and " * bool(settings)
    console.print(
        f"preview: {in_words(after)}\nNothing was written. To decide so, {decided}run "
        "`dvc repro filter_masks`",
        markup=False,
    )


def main(
    *,
    preview: Annotated[
        tuple[str, ...] | None,
        Parameter(
            help="print what the values of params.yaml would keep, or others, such as "
            "min_area=0.06 'max_entropy={quantile: 0.95}', beside what data/dataset does; write "
            "nothing",
            consume_multiple=True,
            negative="",
        ),
    ] = None,
) -> None:
    """Keep or reject each sample by its scores, with a reason; split: data/dataset."""
    if preview is None:
        run_stage(run)
    else:
        run_stage(partial(show_preview, settings=preview))


if __name__ == "__main__":
    cyclopts.run(main)
