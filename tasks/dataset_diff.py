"""What changed between two revisions: parameters, code, samples, counts and metrics.

Samples of two revisions are the same where their prompt is: text, class words and seed. Manifests
are compared by column, so a million rows take seconds. Imports no torch.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from tasks.presets import differences
from tasks.provenance import DATASET, MASKS, SAMPLES
from tasks.revisions import Revision
from tasks.row_lookup import present_columns

Row = dict[str, Any]

IMAGE, LABEL, VERDICT = "image", "label", "verdict"
_DIGESTS = {
    SAMPLES: ("image_size", "image_crc32"),
    MASKS: ("label_size", "label_crc32", "reliability_size", "reliability_crc32"),
}
_VERDICT = ("kept", "reason", "split")


@dataclass(frozen=True)
class Samples:
    """The samples of a revision, column by column.

    Attributes:
        table: ``prompt_id``, ``sample_id``, digests and sizes of the files, kept, reason, split.
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
    same = all(_same_output(before, after, path) for path in (SAMPLES, MASKS, DATASET))
    one = read_samples(before)
    other = one if same else read_samples(after)
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
        "samples": compare_samples(one.table, other.table, examples),
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


def read_samples(revision: Revision) -> Samples:
    """The manifests of samples, masks and verdicts, joined; only the columns that are compared.

    Raises:
        InputError: one is not on this machine.
    """
    table = _read(revision.file(SAMPLES), ("prompt_id", "sample_id", *_DIGESTS[SAMPLES]))
    ids = table["sample_id"]
    masks = _read(revision.file(MASKS), ("sample_id", *_DIGESTS[MASKS]))
    for name, column in _beside(ids, masks).items():
        table = table.append_column(name, column)
    del masks
    path = revision.file(DATASET)
    for name, column in _beside(ids, _read(path, ("sample_id", *_VERDICT))).items():
        table = table.append_column(name, column)
    return Samples(table, _kept_per_class(path))


def compare_samples(before: pa.Table, after: pa.Table, examples: int) -> Row:
    """Samples that came, went or changed, prompt by prompt.

    Returns:
        ``before``, ``after``, ``added``, ``removed``, ``changed``: how many; ``changed_files`` and
        ``changed_verdicts``: of the changed ones, those with another image or label, or another
        verdict; ``now_kept`` and ``now_rejected``; ``examples``: the first rows of each kind.
    """
    if before is after:
        found = np.arange(len(after))
        differ = {kind: np.zeros(len(after), bool) for kind in (IMAGE, LABEL, VERDICT)}
        partner, old, new = found, before, after
    else:
        place = _places(after["prompt_id"], before["prompt_id"])
        found = np.flatnonzero(place >= 0)
        partner = place[found]
        old, new = before.drop(["prompt_id"]).take(partner), after.drop(["prompt_id"]).take(found)
        differ = {
            IMAGE: _any_differs(old, new, _DIGESTS[SAMPLES]),
            LABEL: _any_differs(old, new, _DIGESTS[MASKS]),
            VERDICT: _any_differs(old, new, _VERDICT),
        }
    changed = np.flatnonzero(differ[IMAGE] | differ[LABEL] | differ[VERDICT])
    added = np.setdiff1d(np.arange(len(after)), found, assume_unique=True)
    removed = np.setdiff1d(np.arange(len(before)), partner, assume_unique=True)
    was, now = (pc.fill_null(part["kept"], False).to_numpy() for part in (old, new))
    return {
        "before": len(before),
        "after": len(after),
        "added": len(added),
        "removed": len(removed),
        "changed": len(changed),
        "changed_images": int(differ[IMAGE].sum()),
        "changed_labels": int(differ[LABEL].sum()),
        "changed_verdicts": int(differ[VERDICT].sum()),
        "now_kept": int((now & ~was).sum()),
        "now_rejected": int((was & ~now).sum()),
        "examples": {
            "added": _some(after, added[:examples]),
            "removed": _some(before, removed[:examples]),
            "changed": [
                {
                    "prompt_id": after["prompt_id"][int(found[i])].as_py(),
                    "what": [kind for kind, rows in differ.items() if rows[i]],
                    "before": _some(old, [i])[0],
                    "after": _some(new, [i])[0],
                }
                for i in changed[:examples]
            ],
        },
    }


def _read(path: Path, columns: tuple[str, ...]) -> pa.Table:
    """Some columns of a table; those that it lacks, as earlier versions do, as nulls."""
    there = present_columns(path, columns)
    table = parquet.read_table(path, columns=there)
    for name in columns:
        if name not in there:
            table = table.append_column(name, pa.nulls(len(table)))
    return table


def _beside(ids: pa.ChunkedArray, table: pa.Table) -> dict[str, pa.ChunkedArray]:
    """The columns of a table of samples, its rows in the order of ``ids``; null where one lacks."""
    rest = table.drop(["sample_id"])
    if not table["sample_id"].equals(ids):
        place = _places(ids, table["sample_id"])
        rest = rest.take(pa.array(place, mask=place < 0))
    return {name: rest[name] for name in rest.column_names}


def _places(wanted: pa.ChunkedArray, among: pa.ChunkedArray) -> np.ndarray:
    """Where each of ``wanted`` stands ``among`` the others, -1 where it does not."""
    if wanted.equals(among):
        return np.arange(len(wanted))
    found = pc.index_in(wanted, value_set=among.combine_chunks())
    places: np.ndarray = pc.fill_null(found, -1).to_numpy()
    return places


def _any_differs(old: pa.Table, new: pa.Table, columns: tuple[str, ...]) -> np.ndarray:
    """Rows in which one of the columns has two values; what one side does not know is no change."""
    differ = np.zeros(len(new), bool)
    for name in columns:
        if pa.null() not in (old[name].type, new[name].type):
            unequal = pc.fill_null(pc.not_equal(old[name], new[name]), False)
            differ |= unequal.to_numpy()
    return differ


def _kept_per_class(path: Path) -> dict[str, int]:
    """Class -> kept samples whose prompt names it, read a row group at a time."""
    counts: dict[str, int] = defaultdict(int)
    with parquet.ParquetFile(path) as file:
        for part in file.iter_batches(columns=["kept", "classes.list.element.name"]):
            lists = part.column("classes")
            kept = part.column("kept").to_numpy(zero_copy_only=False)
            lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
            names = lists.flatten().field(0).filter(pa.array(np.repeat(kept, lengths)))
            for entry in pc.value_counts(names):
                counts[entry["values"].as_py()] += entry["counts"].as_py()
    return dict(sorted(counts.items()))


def _some(table: pa.Table, places: Any) -> list[Row]:
    columns = ("prompt_id", "sample_id", *_VERDICT)
    names = [name for name in columns if name in table.column_names]
    rows: list[Row] = table.select(names).take(pa.array(places, pa.int64())).to_pylist()
    return rows


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
