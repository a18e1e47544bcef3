"""From a trained network back to every input: data, base model, adapter, code, parameters.

A network is known by its content, wherever its copy lies, and an exported one by the weights that
it names. What made it stands in ``dvc.lock``, at the revision that holds it. Imports torch only to
read a checkpoint whose bytes nobody knows.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from pyarrow import parquet

from tasks.checkpoints import MADE_BY_THE_RUN, WEIGHTS
from tasks.checksums import file_md5, folder_md5
from tasks.digests import combine
from tasks.exported_networks import made_from
from tasks.params import InputError
from tasks.provenance import DATASET
from tasks.revisions import Artifact, Revision, history, recorded_at
from tasks.run_records import read_runs, run_of

Row = dict[str, Any]

_INDEXES = {"data/samples": "index.parquet", "data/masks": "index.parquet"}
_INPUTS = "data/inputs/"
"""Records of preflight: what comes from outside of the graph."""


def trace(path: Path, root: Path = Path()) -> Row:
    """Everything that a network was made from.

    Args:
        path: a folder such as ``models/segmenter``, or a file of weights; a copy will do, and what
            `tasks.export_network` wrote.

    Returns:
        ``checkpoint`` (path, md5, sha256; of an exported one ``made_from``, the MD5 of weights that
        it names, else None), ``output`` that it is, ``revision`` where it was found,
        ``recorded`` (the first commit that holds it; None = uncommitted), ``run`` of the flow,
        ``made_by`` (a stage: name, parameters, code, inputs; an input: path, md5, size, facts,
        ``stale`` where its maker has made another since, and in turn ``made_by``) and
        ``init_from``, a trace of the network that it started from, where that is known.

    Raises:
        InputError: there is no such file, or no revision's ``dvc.lock`` knows it.
    """
    return _trace(path, root, seen=set())


def _trace(path: Path, root: Path, seen: set[str]) -> Row:
    weights = path / WEIGHTS if path.is_dir() else path
    if not weights.is_file():
        raise InputError(
            f"{path}: no weights there; give a folder with {WEIGHTS}, such as models/segmenter, or "
            "a file of weights"
        )
    md5, source, found = _identify(weights, root)
    if found is None:
        named = f", nor the weights that it was exported from (MD5 {source})" if source else ""
        raise InputError(
            f"{path}: no dvc.lock of the workspace or of any commit names a network with these "
            f"bytes (MD5 {md5}){named}, or DVC's cache lacks the lists of its folder; `dvc fetch "
            "--all-commits` brings them if a remote keeps them"
        )
    revision, out = found
    stage = revision.maker[out.path]
    with open(weights, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    made_by = _Tree(revision).stage(stage)
    return {
        "checkpoint": {"path": str(weights), "md5": md5, "sha256": sha256, "made_from": source},
        "output": out.path,
        "revision": {"name": revision.name, "commit": revision.commit},
        "recorded": recorded_at(revision, [out.path]),
        "run": run_of(stage, out.path, out.md5, list(read_runs(root))),
        "made_by": made_by,
        "init_from": _initial(revision, stage, root, seen | {source or md5}),
    }


def _identify(
    weights: Path, root: Path
) -> tuple[str, str | None, tuple[Revision, Artifact] | None]:
    """A file's MD5; where no revision knows that, the MD5 that it names; and what has it."""
    md5 = file_md5(weights)
    found = find_output(md5, root)
    if found:
        return md5, None, found
    source = made_from(weights)
    return md5, source, find_output(source, root) if source else None


def find_output(md5: str, root: Path = Path()) -> tuple[Revision, Artifact] | None:
    """The latest revision whose ``dvc.lock`` names a network with these weights, and the output."""
    for revision in history(root):
        for path in MADE_BY_THE_RUN:
            out = revision.outs.get(path)
            if out and md5 in (revision.members(out) or _workspace_members(out, root)).values():
                return revision, out
    return None


def _workspace_members(out: Artifact, root: Path) -> dict[str, str]:
    """Name -> MD5 of the folder here, if it is the one that ``out`` is; else nothing."""
    folder = root / out.path
    files = [file for file in folder.rglob("*") if file.is_file()]
    members = {file.relative_to(folder).as_posix(): file_md5(file) for file in files}
    return members if members and folder_md5(members) == out.md5 else {}


class _Tree:
    """Stages and their inputs as nested rows; a stage that comes again is only named."""

    def __init__(self, revision: Revision) -> None:
        self.revision = revision
        self.told: set[str] = set()

    def stage(self, name: str) -> Row:
        if name in self.told:
            return {"stage": name, "see_above": True}
        self.told.add(name)
        code, inputs = {}, []
        for dep in self.revision.deps_of(name):
            owner = self.revision.owner(dep.path)
            if owner is None:
                code[dep.path] = dep.md5
            else:
                inputs.append(self.input(name, dep, owner))
        return {
            "stage": name,
            "parameters": self.revision.params(name),
            "code": {"digest": combine(code), "files": code},
            "inputs": inputs,
        }

    def input(self, stage: str, dep: Artifact, owner: Artifact) -> Row:
        row: Row = {"path": dep.path, "md5": dep.md5, "size": dep.size, "files": dep.files}
        made = owner.md5 if owner.path == dep.path else None
        row["stale"] = made is not None and made != dep.md5
        row["facts"] = dict(facts(self.revision, stage, dep.path))
        maker = self.revision.maker[owner.path]
        if maker != "preflight":
            row["made_by"] = self.stage(maker)
        return row


def facts(revision: Revision, stage: str, path: str) -> Iterator[tuple[str, Any]]:
    """What a manifest or record says of itself, where its bytes are on this machine."""
    if path == "data/prompts.parquet":
        found = revision.find(path)
        if found:
            yield "prompts", parquet.read_metadata(found).num_rows
    elif path in _INDEXES:
        found = revision.find(f"{path}/{_INDEXES[path]}")
        if found:
            yield Path(path).name, parquet.read_metadata(found).num_rows
    elif path == "data/dataset":
        found = revision.find(DATASET)
        if found:
            kept = parquet.read_table(found, columns=["kept"])["kept"]
            yield "samples", len(kept)
            yield "kept", pc.sum(kept).as_py() or 0
    elif path == "models/lora/adapter.json":
        record = revision.dependency(stage, path) or {}
        for key in ("source", "digest", "base"):
            if key in record:
                yield key, record[key]
        if record.get("images"):
            images = {one["name"]: one["digest"] for one in record["images"]}
            yield "reference images", len(images)
            yield "digest of the reference images", combine(images)
    elif path.startswith(_INPUTS):
        record = revision.dependency(stage, path) or {}
        for key, value in record.items():
            if value is not None and not isinstance(value, dict | list):
                yield key, value


def _initial(revision: Revision, stage: str, root: Path, seen: set[str]) -> Row | None:
    """The network that a training started from: traced, where a revision made it."""
    section = revision.section(stage)
    init_from = section.get("init_from", "none")
    record = revision.dependency(stage, f"{_INPUTS}init_from.json") or {}
    if init_from == "none" or not record.get("digest"):
        return None
    row = {"path": init_from, "sha256": record["digest"], "trace": None}
    path = root / init_from
    weights = path / WEIGHTS if path.is_dir() else path
    if not weights.is_file():
        return row
    with open(weights, "rb") as file:
        same = hashlib.file_digest(file, "sha256").hexdigest() == record["digest"]
    if same:
        md5, source, found = _identify(weights, root)
        if found and (source or md5) not in seen:
            row["trace"] = _trace(weights, root, seen)
    return row
