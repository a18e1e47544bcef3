"""What changed between two revisions: parameters, code, samples, counts and metrics.

Samples of two revisions are the same where their prompt is: text, class words and seed. Manifests
are compared by column, so a million rows take seconds. Nulls follow Kleene's logic: what one side
does not know is no change. Nothing here becomes numpy by way of pyarrow, which would import pandas.
Imports no torch.
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from tasks.presets import differences
from tasks.provenance import DATASET, MASKS, SAMPLES
from tasks.revisions import Revision

Row = dict[str, Any]

PARTS = {SAMPLES: ("image",), MASKS: ("label", "reliability")}
"""Index -> what of a sample is compared by its bytes."""
VERDICT = ("kept", "rule", "split")
"""What a verdict is. Its reason tells the score too, which may move without another verdict."""
SHOWN = ("prompt_id", "sample_id", "kept", "reason", "split")
"""What is told of a sample that came, went or changed."""


@dataclass(frozen=True)
class Samples:
    """The samples of a revision, column by column.

    Attributes:
        table: ``prompt_id``, ``sample_id``, digests and sizes of the files, kept, rule (where both
            sides have it), reason, split.
        kept_per_class: class -> kept samples whose prompt names it.
    """

    table: pa.Table
    kept_per_class: dict[str, int]


def compare(before: Revision, after: Revision, examples: int = 10) -> Row:
    """Everything that differs between two revisions.

    Args:
        before: the earlier one, or whichever is to be subtracted.
        after: the other.
        examples: samples of a kind that are listed.

    Returns:
        ``before``, ``after`` (name and commit), ``parameters`` and ``metrics`` (key, before, after;
        None = not there), ``code`` (path, change, the stages that it concerns), ``classes``
        (class, kept before, kept after) and ``samples``, see `compare_samples`.

    Raises:
        InputError: a revision has no ``dvc.lock``, or a manifest of it is not on this machine.
    """
    digests = digest_columns(before, after)
    one = read_samples(before, digests)
    same = all(_same_output(before, after, path) for path in (*PARTS, DATASET))
    other = one if same else read_samples(after, digests)
    names = {**one.kept_per_class, **other.kept_per_class}
    return {
        "before": {"revision": before.name, "commit": before.commit},
        "after": {"revision": after.name, "commit": after.commit},
        "parameters": _changes(sections(before), sections(after)),
        "code": compare_code(before, after),
        "classes": [
            {
                "class": name,
                "before": one.kept_per_class.get(name, 0),
                "after": other.kept_per_class.get(name, 0),
            }
            for name in names
        ],
        "samples": compare_samples(one.table, other.table, digests, examples),
        "metrics": _changes(metrics(before), metrics(after)),
    }


def sections(revision: Revision) -> Row:
    """Section -> parameters, each as its own stage was made with it."""
    found = {stage: revision.section(stage) for stage in revision.stages}
    return {stage: section for stage, section in found.items() if section}


def metrics(revision: Revision) -> Row:
    """Metrics file -> its single values; curves and tables are left out."""
    paths = [path for path in revision.outs if path.startswith("metrics/")]
    return {Path(path).stem: _scalars(revision.json(path)) for path in paths}


def compare_code(before: Revision, after: Revision) -> list[Row]:
    """Files and folders that stages depend on and no stage makes, where they differ.

    Returns:
        ``path``, ``change`` (added, removed or changed) and ``stages`` of each, by path.
    """
    one, other = _code(before), _code(after)
    rows = []
    for path in sorted(one.keys() | other.keys()):
        old, new = one.get(path, {}), other.get(path, {})
        stages = [stage for stage in {**old, **new} if old.get(stage) != new.get(stage)]
        if stages:
            change = "changed" if old and new else ("added" if new else "removed")
            rows.append({"path": path, "change": change, "stages": stages})
    return rows


def digest_columns(before: Revision, after: Revision) -> dict[str, list[str]]:
    """Index -> the columns that are compared.

    Of a part's bytes the CRC-32, or sizes where a side has none; of the verdict the rule, or the
    reason where a side has no rule.

    Raises:
        InputError: an index is not on this machine.
    """
    columns = {}
    for path, parts in PARTS.items():
        schemas = [set(parquet.read_schema(one.file(path)).names) for one in (before, after)]
        columns[path] = [
            f"{part}_crc32"
            if all(f"{part}_crc32" in names for names in schemas)
            else f"{part}_size"
            for part in parts
        ]
    ruled = all("rule" in parquet.read_schema(one.file(DATASET)).names for one in (before, after))
    columns[DATASET] = [*VERDICT] if ruled else ["kept", "reason", "split"]
    return columns


def read_samples(revision: Revision, digests: dict[str, list[str]]) -> Samples:
    """The manifests of samples, masks and verdicts, joined; only the columns that are compared.

    Raises:
        InputError: one is not on this machine.
    """
    table = _read(revision.file(SAMPLES), ["prompt_id", "sample_id", *digests[SAMPLES]])
    ids = table["sample_id"]
    verdict = dict.fromkeys([*digests[DATASET], "reason"])
    for path, columns in ((MASKS, digests[MASKS]), (DATASET, [*verdict])):
        beside = _read(revision.file(path), ["sample_id", *columns])
        place = _places(ids, beside["sample_id"])
        for name in columns:
            column = beside[name] if place is None else pc.take(beside[name], place)
            table = table.append_column(name, column)
    return Samples(table, _kept_per_class(revision.file(DATASET)))


def compare_samples(
    before: pa.Table, after: pa.Table, digests: dict[str, list[str]], examples: int
) -> Row:
    """Samples that came, went or changed, prompt by prompt.

    Returns:
        ``before``, ``after``, ``added``, ``removed``, ``changed``: how many; of the changed ones
        ``changed_images``, ``changed_labels`` (or reliability) and ``changed_verdicts``, and
        ``now_kept`` and ``now_rejected``; ``examples``: the first rows of each kind.
    """
    place = _places(after["prompt_id"], before["prompt_id"])
    kinds = {"image": digests[SAMPLES], "label": digests[MASKS], "verdict": digests[DATASET]}
    differ = {
        kind: reduce(pc.or_kleene, (_differs(before, after, name, place) for name in columns))
        for kind, columns in kinds.items()
    }
    changed = reduce(pc.or_kleene, differ.values())
    was = _partners(before["kept"], place)
    partner = np.arange(len(after)) if place is None else _numbers(place)
    left = np.ones(len(before), bool)
    left[partner[partner >= 0]] = False
    removed, added = np.flatnonzero(left), np.flatnonzero(partner < 0)
    return {
        "before": len(before),
        "after": len(after),
        "added": len(added),
        "removed": len(removed),
        "changed": _count(changed),
        "changed_images": _count(differ["image"]),
        "changed_labels": _count(differ["label"]),
        "changed_verdicts": _count(differ["verdict"]),
        "now_kept": _count(pc.and_kleene(after["kept"], pc.invert(was))),
        "now_rejected": _count(pc.and_kleene(was, pc.invert(after["kept"]))),
        "examples": {
            "added": [_row(after, int(at)) for at in added[:examples]],
            "removed": [_row(before, int(at)) for at in removed[:examples]],
            "changed": [
                {
                    "what": [kind for kind, rows in differ.items() if rows[at].as_py()],
                    "before": _row(before, int(partner[at])),
                    "after": _row(after, at),
                }
                for at in pc.indices_nonzero(changed)[:examples].to_pylist()
            ],
        },
    }


def _read(path: Path, columns: list[str]) -> pa.Table:
    # Without the buffer of whole column chunks, which costs more than it saves on a local disk.
    with parquet.ParquetFile(path, pre_buffer=False) as file:
        return file.read(columns=columns)


def _places(wanted: pa.ChunkedArray, among: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Where each of ``wanted`` stands ``among`` the others, null where it does not.

    None where both are the same, row by row, as they are most of the time.
    """
    if wanted.equals(among):
        return None
    return pc.index_in(wanted, value_set=among.combine_chunks())


def _partners(column: pa.ChunkedArray, place: pa.ChunkedArray | None) -> pa.ChunkedArray:
    return column if place is None else pc.take(column, place)


def _differs(
    before: pa.Table, after: pa.Table, name: str, place: pa.ChunkedArray | None
) -> pa.ChunkedArray:
    """Whether a column has another value than in the row of the same prompt; null: nobody knows."""
    return pc.not_equal(_partners(before[name], place), after[name])


def _count(flags: pa.ChunkedArray) -> int:
    return pc.sum(flags).as_py() or 0


def _numbers(place: pa.ChunkedArray) -> np.ndarray:
    """The places as numpy, -1 for null."""
    numbers = np.full(len(place), -1, np.int64)
    rows = np.frombuffer(_buffer(pc.indices_nonzero(pc.is_valid(place))), np.uint64)
    known = pc.drop_null(place).combine_chunks()
    numbers[rows.astype(np.int64)] = np.frombuffer(_buffer(known), np.int32)
    return numbers


def _buffer(values: pa.Array) -> pa.Buffer:
    width = values.type.bit_width // 8
    return values.buffers()[1].slice(values.offset * width, len(values) * width)


def _kept_per_class(path: Path) -> dict[str, int]:
    """Class -> kept samples whose prompt names it, read a part at a time."""
    counts: dict[str, int] = defaultdict(int)
    with parquet.ParquetFile(path) as file:
        for part in file.iter_batches(columns=["kept", "classes.list.element.name"]):
            lists = part.column("classes")
            kept = pc.take(part.column("kept"), pc.list_parent_indices(lists))
            for entry in pc.value_counts(pc.list_flatten(lists).field(0).filter(kept)):
                counts[entry["values"].as_py()] += entry["counts"].as_py()
    return dict(sorted(counts.items()))


def _row(table: pa.Table, at: int) -> Row:
    row: Row = table.select(SHOWN).slice(at, 1).to_pylist()[0]
    return row


def _code(revision: Revision) -> dict[str, dict[str, str]]:
    """Path -> stage -> MD5 of what stages depend on and no stage makes."""
    code: dict[str, dict[str, str]] = defaultdict(dict)
    for stage in revision.stages:
        for dep in revision.deps_of(stage):
            if revision.owner(dep.path) is None:
                code[dep.path][stage] = dep.md5
    return code


def _same_output(before: Revision, after: Revision, path: str) -> bool:
    """Whether two commits have the same bytes; what lies in the workspace may be of no commit."""
    one, other = before.owner(path), after.owner(path)
    committed = before.commit is not None and after.commit is not None
    return committed and one is not None and other is not None and one.md5 == other.md5


def _scalars(value: Any) -> Row:
    if not isinstance(value, dict):
        return {}
    return {
        key: _scalars(entry) if isinstance(entry, dict) else entry
        for key, entry in value.items()
        if not isinstance(entry, list)
    }


def _changes(before: Row, after: Row) -> list[Row]:
    return [
        {"key": key, "before": old, "after": new} for key, old, new in differences(before, after)
    ]
