"""Whether everything is whole: every shard, every index row, every digest of ``dvc.lock``.

Imports no torch.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from tasks.checksums import file_md5, folder_md5
from tasks.progress import Advance, progress
from tasks.provenance import DATASET, MASKS, PROMPTS, SAMPLES, SCORES
from tasks.revisions import LOCK, WORKSPACE, Artifact, Revision
from tasks.shard_checks import Expected, Finding, check_shard
from tasks.shards import addresses

PARTS = {SAMPLES: ("image", "attention"), MASKS: ("label", "reliability", "uncertainty")}
"""Index -> what lies of a sample in the shards that it names."""
NAMED = 3
"""Rows that a finding about many rows names."""
_WORKERS = min(4, os.cpu_count() or 1)

Row = dict[str, Any]


def check(root: Path = Path()) -> Row:
    """Look at everything that the pipeline left.

    Returns:
        ``ok``; ``checked``: how many ``files``, ``bytes``, ``shards`` and ``samples``;
        ``findings``: ``path``, ``sample_id`` and ``fault`` of each.
    """
    here = Revision(WORKSPACE, None, root)
    tables, findings = read_tables(root)
    findings += check_ids(tables)
    shards = rows_by_shard(tables)
    locked = (root / LOCK).exists()
    files = {file: None for path in shards if (file := root / path).is_file()}
    files |= dict.fromkeys(_files(here)) if locked else {}
    size = sum(file.stat().st_size for file in files)
    digests: dict[Path, str] = {}
    with progress("checking", _kib(size), "KiB") as advance:
        for path, (faults, md5) in _map_shards(shards, root, advance):
            findings += faults
            if md5:
                digests[root / path] = md5
        rest = [file for file in files if file not in digests]
        with ThreadPoolExecutor(_WORKERS) as pool:
            for file, md5 in zip(rest, pool.map(file_md5, rest), strict=True):
                digests[file] = md5
                advance(_kib(file.stat().st_size))
    if locked:
        findings += check_lock(here, digests, {finding.path for finding in findings})
    return {
        "ok": not findings,
        "checked": {
            "files": len(files),
            "bytes": size,
            "shards": len(shards),
            "samples": len(tables[SAMPLES]) if SAMPLES in tables else 0,
            "against_dvc_lock": locked,
        },
        "findings": [vars(finding) for finding in findings],
    }


def read_tables(root: Path) -> tuple[dict[str, pa.Table], list[Finding]]:
    """The manifests that are there, without what repeats in others, and those that are damaged."""
    tables, findings = {}, []
    columns = {
        PROMPTS: ["prompt_id"],
        SCORES: ["sample_id"],
        DATASET: ["sample_id", "prompt_id", *PARTS[SAMPLES], *PARTS[MASKS]],
    }
    for path in (PROMPTS, SAMPLES, MASKS, DATASET, SCORES):
        if not (root / path).exists():
            continue
        try:
            names = parquet.read_schema(root / path).names
            wanted = columns.get(path, [name for name in names if name != "classes"])
            keep = [name for name in wanted if name in names]
            tables[path] = parquet.read_table(root / path, columns=keep)
        except (pa.ArrowException, OSError) as error:
            findings.append(Finding(path, None, f"cannot be read: {str(error).splitlines()[0]}"))
    return tables, findings


def check_ids(tables: dict[str, pa.Table]) -> list[Finding]:
    """Whether ids are unique, and the manifests are of the same samples and prompts."""
    findings = []
    for path, table in tables.items():
        column = table["prompt_id" if path == PROMPTS else "sample_id"]
        counts = pc.value_counts(column)
        twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
        findings += _about(path, twice, "stand twice")
    samples = tables.get(SAMPLES)
    if samples is None:
        return findings
    if PROMPTS in tables:
        lost = _missing(samples["prompt_id"], tables[PROMPTS]["prompt_id"])
        findings += _about(SAMPLES, samples["sample_id"].filter(lost), f"have no row in {PROMPTS}")
    for path in (MASKS, DATASET, SCORES):
        if path in tables:
            ids = tables[path]["sample_id"]
            absent = samples["sample_id"].filter(_missing(samples["sample_id"], ids))
            findings += _about(path, absent, f"are in {SAMPLES} but not here")
            foreign = ids.filter(_missing(ids, samples["sample_id"]))
            findings += _about(path, foreign, f"are here but not in {SAMPLES}")
    if DATASET in tables:
        findings += check_addresses(tables)
    return findings


def check_addresses(tables: dict[str, pa.Table]) -> list[Finding]:
    """Whether the dataset's shard addresses are those of the indexes."""
    findings, dataset = [], tables[DATASET]
    for path, parts in PARTS.items():
        if path not in tables:
            continue
        index = tables[path]
        place = pc.index_in(dataset["sample_id"], value_set=index["sample_id"].combine_chunks())
        for part in parts:
            if part in dataset.column_names and f"{part}_offset" in index.column_names:
                expected = pc.take(addresses(index, part), place)
                differs = pc.fill_null(pc.not_equal(dataset[part], expected), False)
                wrong = dataset["sample_id"].filter(differs)
                findings += _about(DATASET, wrong, f"have another {part} address than in {path}")
    return findings


def rows_by_shard(tables: dict[str, pa.Table]) -> dict[str, tuple[str, pa.Table]]:
    """Shard -> the index that names it, and that index's rows of it."""
    shards: dict[str, tuple[str, pa.Table]] = {}
    for path in PARTS:
        if path not in tables or not len(tables[path]):
            continue
        table = tables[path].sort_by("shard").combine_chunks()
        names = table["shard"].chunk(0).dictionary_encode()
        starts = np.flatnonzero(np.diff(names.indices.to_numpy(), prepend=-1))
        for first, end in pairwise([*starts.tolist(), len(table)]):
            shards[table["shard"][first].as_py()] = path, table.slice(first, end - first)
    return shards


def expected_members(path: str, rows: pa.Table) -> list[Expected]:
    """The members of a shard as the rows of an index name them."""
    return [
        Expected(
            row["sample_id"],
            part,
            row[f"{part}_offset"],
            row[f"{part}_size"],
            row.get(f"{part}_crc32"),
        )
        for row in rows.to_pylist()
        for part in PARTS[path]
        if row.get(f"{part}_offset") is not None
    ]


def check_lock(here: Revision, digests: dict[Path, str], known: set[str]) -> Iterator[Finding]:
    """Outputs that are missing or not what ``dvc.lock`` holds.

    Args:
        here: the workspace.
        digests: file -> MD5, of all files of all outputs.
        known: paths that another finding names already.
    """
    for out in here.outs.values():
        place = here.root / out.path
        if not place.exists():
            yield Finding(
                out.path, None, f"is missing; {LOCK} names it: `dvc checkout` or `dvc repro`"
            )
        elif place.is_file():
            if digests[place] != out.md5:
                yield from _differing(here, out, out.path, out.md5, digests[place], known)
        else:
            yield from _check_folder(here, out, digests, known)


def _check_folder(
    here: Revision, out: Artifact, digests: dict[Path, str], known: set[str]
) -> Iterator[Finding]:
    place = here.root / out.path
    found = {file.relative_to(place).as_posix(): digests[file] for file in _below(place)}
    if folder_md5(found) == out.md5:
        return
    listed = here.members(out)
    told = any(out.holds(path) for path in known)
    for name in sorted(listed.keys() | found.keys()) if listed else ():
        path = f"{out.path}/{name}"
        if listed.get(name) == found.get(name):
            continue
        told = True
        if name in found and name in listed:
            yield from _differing(here, out, path, listed[name], found[name], known)
        elif path in known:
            continue
        elif name not in found:
            yield Finding(path, None, f"is missing; {LOCK} counts on it")
        else:
            yield Finding(path, None, f"is no part of {out.path} in {LOCK}")
    if not told:
        yield Finding(out.path, None, _differs(out.md5, folder_md5(found)))


def _differing(
    here: Revision, out: Artifact, path: str, expected: str, found: str, known: set[str]
) -> Iterator[Finding]:
    """What is wrong with a file of other bytes than ``dvc.lock`` holds, unless that is known.

    And whether the cache can mend it: a file may be a hard link to it, and is then damaged with it.
    """
    kept = here.cached(expected)
    if kept.is_file() and file_md5(kept) != expected:
        # DVC takes its cache's word for it: with the object there, it would restore the damage.
        yield Finding(
            path,
            None,
            f"is damaged, and DVC's cache holds the same damage: `rm -f {kept}`, then "
            f"`dvc repro {here.maker[out.path]}`",
        )
    elif path not in known:
        yield Finding(path, None, _differs(expected, found))


def _differs(expected: str, found: str) -> str:
    return (
        f"is not what {LOCK} holds: MD5 {found}, not {expected}; `dvc repro` if a stage ran "
        "without DVC, else `dvc checkout --force` takes the whole one from the cache"
    )


def _map_shards(
    shards: dict[str, tuple[str, pa.Table]], root: Path, advance: Advance
) -> Iterator[tuple[str, tuple[list[Finding], str | None]]]:
    """Each shard with what `tasks.shard_checks.check_shard` says of it."""

    def one(shard: str) -> tuple[list[Finding], str | None]:
        index, rows = shards[shard]
        said = rows["shard_digest"].to_pylist() if "shard_digest" in rows.column_names else []
        digests = dict.fromkeys(digest for digest in said if digest)
        return check_shard(root / shard, shard, expected_members(index, rows), digests)

    with ThreadPoolExecutor(_WORKERS) as pool:
        for shard, result in zip(shards, pool.map(one, shards), strict=True):
            yield shard, result
            advance(_kib((root / shard).stat().st_size) if result[1] else 0)


def _files(here: Revision) -> list[Path]:
    """All files of the outputs that are there."""
    places = [here.root / path for path in here.outs]
    return [file for place in places for file in ([place] if place.is_file() else _below(place))]


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _kib(size: int) -> int:
    return -(-size // 1024)


def _missing(values: pa.ChunkedArray, among: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.invert(pc.is_in(values, value_set=among.combine_chunks()))


def _about(path: str, ids: Iterable[pa.StringScalar], fault: str) -> list[Finding]:
    """One finding about many rows, or one about each of a few."""
    values = [value.as_py() for value in ids]
    if len(values) <= NAMED:
        return [Finding(path, value, f"rows {fault}") for value in values]
    some = ", ".join(map(str, values[:NAMED]))
    return [Finding(path, None, f"{len(values)} rows {fault}: {some}, ...")]
