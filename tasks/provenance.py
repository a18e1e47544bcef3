"""Where a sample comes from and why it was kept: all manifests joined for one row.

What the stages were made with comes from ``dvc.lock``, not from ``params.yaml``, which may have
changed since. Imports no torch.
"""

import hashlib
import zlib
from pathlib import Path
from typing import Any

from tasks.params import InputError, read_raw
from tasks.presets import differences
from tasks.revisions import PARAMS, WORKSPACE, Revision, recorded_at
from tasks.row_lookup import NEAR, find_ids, find_row, near_ids
from tasks.rule_bounds import judged
from tasks.run_records import read_runs, run_of
from tasks.shards import Member

SAMPLES = "data/samples/index.parquet"
MASKS = "data/masks/index.parquet"
DATASET = "data/dataset/index.parquet"
SCORES = "data/scores/index.parquet"
PROMPTS = "data/prompts.parquet"
STAGES = {
    "expand_prompts": PROMPTS,
    "sample_images": "data/samples",
    "extract_masks": "data/masks",
    "score_masks": "data/scores",
    "filter_masks": "data/dataset",
}
"""The stages that a sample passes, and what each leaves of it."""
_SAMPLE_PARTS = ("image", "attention")
_MASK_PARTS = ("label", "reliability", "uncertainty")
_NO_SCORES = ("sample_id", "prompt_id", "classes")
_NO_VERDICT = (*_NO_SCORES, "text", *_SAMPLE_PARTS, *_MASK_PARTS)
"""What the dataset repeats of other tables."""

Row = dict[str, Any]


def full_id(prefix: str, root: Path = Path()) -> str:
    """The sample id that begins with ``prefix``, or that an exported image file of this path bears.

    Raises:
        InputError: none does, or several do; near ones are named.
    """
    if Path(prefix).is_file():
        prefix = _stamped(Path(prefix))
    path = Revision(WORKSPACE, None, root).file(SAMPLES)
    found = find_ids(path, "sample_id", prefix, NEAR + 1) if prefix else []
    if prefix in found or len(found) == 1:
        return prefix if prefix in found else found[0]
    if found:
        more = ", ..." if len(found) > NEAR else ""
        raise InputError(
            f"sample {prefix!r}: several begin so: {', '.join(found[:NEAR])}{more}; give more of it"
        )
    near = near_ids(path, "sample_id", prefix) if prefix else []
    hint = f"near ones: {', '.join(near)}" if near else f"{SAMPLES} lists them"
    raise InputError(f"sample {prefix!r}: there is none in {SAMPLES}; {hint}")


def _stamped(picture: Path) -> str:
    """The sample id in an exported image file."""
    from tasks.image_provenance import sample_id_of

    try:
        found = sample_id_of(picture)
    except OSError as error:
        raise InputError(
            f"{picture}: is no image that can be read ({error}); give an exported image, or an id"
        ) from None
    if found is None:
        raise InputError(
            f"{picture}: says nothing of its sample; images that `python -m tasks.export` wrote do"
        )
    return found


def explain(prefix: str, root: Path = Path()) -> Row:
    """All that is known of a sample.

    Args:
        prefix: its id, a beginning that no other has, or the path of an exported image file.

    Returns:
        ``sample_id``, ``prompt``, ``batch_size`` (None where nobody kept it), ``model``,
        ``adapter``, ``parameters`` (by stage), ``parameters_changed`` (keys whose value in
        params.yaml is another now), ``files`` (image, attention, label, reliability, uncertainty:
        shard, offset, size, SHA-256 and whether the bytes are those that were written), ``scores``,
        ``classes`` (scores by class), ``verdict``, ``rules`` (`tasks.rule_bounds.judged`: each
        bound of filter_masks beside the score), ``revision`` (git commit, None = uncommitted) and
        ``runs`` (by stage), ``notes``.

    Raises:
        InputError: there is no such sample, a manifest is missing, or params.yaml cannot be read.
    """
    here = Revision(WORKSPACE, None, root)
    sample_id = full_id(prefix, root)
    sample = _need(here, SAMPLES, "sample_id", sample_id)
    prompt = _need(here, PROMPTS, "prompt_id", sample["prompt_id"])
    mask = _row(here, MASKS, "sample_id", sample_id) or {}
    verdict = _row(here, DATASET, "sample_id", sample_id) or {}
    scores = _row(here, SCORES, "sample_id", sample_id) or {}
    notes = [
        f"{path} has no such row: {stage} has not run since"
        for path, stage, row in ((MASKS, "extract_masks", mask), (DATASET, "filter_masks", verdict))
        if not row
    ]
    known = bool(here.locked_stages)
    if not known:
        notes.append(
            "no dvc.lock: the stages ran without DVC, so their parameters are not recorded"
        )
    batch_size = sample.get("batch_size")
    wanted = here.section("sample_images").get("batch_size") if known else None
    if None not in (batch_size, wanted) and batch_size != wanted:
        notes.append(
            f"it was sampled in a batch of {batch_size}, not {wanted}, as the device's memory ran "
            "out: its pixels may differ by rounding from those of another run"
        )
    classes = scores.get("classes") or mask.get("classes") or verdict.get("classes") or []
    return {
        "sample_id": sample_id,
        "prompt": prompt,
        "batch_size": batch_size,
        "model": base_model(here),
        "adapter": adapter_of(here),
        "parameters": {name: here.section(name) for name in STAGES} if known else {},
        "parameters_changed": parameters_changed(here) if known else [],
        "files": {
            **{part: file_record(sample, part, root) for part in _SAMPLE_PARTS},
            **{
                part: file_record(mask, part, root)
                for part in _MASK_PARTS
                if mask.get(f"{part}_size") is not None
            },
        },
        "scores": {name: value for name, value in scores.items() if name not in _NO_SCORES},
        "classes": classes,
        "verdict": {name: value for name, value in verdict.items() if name not in _NO_VERDICT},
        "rules": judged(here.section("filter_masks"), scores, classes, here.find(SCORES))
        if verdict and known
        else [],
        "revision": recorded_at(here, list(STAGES.values())) if known else None,
        "runs": runs_of(here) if known else {},
        "notes": notes + (_drift(here) if known else []),
    }


def file_record(row: Row, part: str, root: Path) -> Row:
    """Where a part of a sample lies, and whether its bytes are still those that were written.

    Returns:
        ``shard``, ``offset``, ``size``, ``sha256`` (None where the bytes cannot be read) and
        ``intact``: True, False, or None where the index holds no CRC-32 to compare with.
    """
    place = {
        "shard": row["shard"],
        "offset": row[f"{part}_offset"],
        "size": row[f"{part}_size"],
    }
    try:
        data = Member(place["shard"], place["offset"], place["size"]).below(root).read()
    except (OSError, EOFError):
        return {**place, "sha256": None, "intact": False}
    written = row.get(f"{part}_crc32")
    intact = None if written is None else zlib.crc32(data) == written
    return {**place, "sha256": hashlib.sha256(data).hexdigest(), "intact": intact}


def parameters_changed(here: Revision) -> list[Row]:
    """The parameters of a sample's stages that params.yaml gives another value now.

    Returns:
        ``key``, ``made_with`` and ``now`` of each; None = not there.

    Raises:
        InputError: params.yaml cannot be read.
    """
    path = here.root / PARAMS
    now = read_raw(path) if path.is_file() else {}
    made = {stage: here.section(stage) for stage in STAGES}
    current = {stage: now.get(stage) or {} for stage in STAGES}
    scale = here.params("sample_images").get("adapt_lora", {})
    if scale:
        made["adapt_lora"] = scale
        section = now.get("adapt_lora") or {}
        current["adapt_lora"] = {key: section.get(key) for key in scale}
    return [
        {"key": key, "made_with": before, "now": after}
        for key, before, after in differences(made, current)
    ]


def runs_of(here: Revision) -> dict[str, Row | None]:
    """For each stage that a sample passes, the run of the flow that made what it left."""
    runs = list(read_runs(here.root))
    return {
        stage: run_of(stage, path, here.outs[path].md5, runs) if path in here.outs else None
        for stage, path in STAGES.items()
    }


def base_model(here: Revision) -> Row:
    """Path or id, pipeline and digest of the model of the samples; None where it is not known."""
    path = "data/inputs/model.json"
    known = "sample_images" in here.locked_stages
    record = here.dependency("sample_images", path) if known else here.json(path)
    record = record or {}
    return {
        "path": here.section("sample_images").get("model") if known else None,
        "pipeline": record.get("pipeline"),
        "digest": record.get("digest"),
    }


def adapter_of(here: Revision) -> Row | None:
    """Digest, source and scale of the LoRA that the samples were made with; None without one."""
    path = "models/lora/adapter.json"
    known = "sample_images" in here.locked_stages
    record = here.dependency("sample_images", path) if known else here.json(path)
    if not record or not record.get("digest"):
        return None
    scale = here.params("sample_images").get("adapt_lora", {}).get("scale", 1.0) if known else None
    return {"digest": record["digest"], "source": record.get("source"), "scale": scale}


def _drift(here: Revision) -> list[str]:
    """Outputs whose size is not what dvc.lock holds: a stage was run without DVC, or cut short."""
    notes = []
    for path in STAGES.values():
        out, file = here.outs.get(path), here.root / path
        if out is None or not file.exists():
            continue
        parts = [file] if file.is_file() else [one for one in file.rglob("*") if one.is_file()]
        if sum(one.stat().st_size for one in parts) != out.size:
            notes.append(
                f"{path} is not what dvc.lock holds, so parameters, revision and run may be of "
                "another state; `python -m tasks.lineage check` says more, `dvc repro` makes it so"
            )
    return notes


def _row(here: Revision, path: str, column: str, value: str) -> Row | None:
    found = here.find(path)
    return find_row(found, column, value) if found else None


def _need(here: Revision, path: str, column: str, value: str) -> Row:
    row = find_row(here.file(path), column, value)
    if row is None:
        raise InputError(
            f"{path}: no row has {column} {value}, which {SAMPLES} names; the two are of different "
            "runs: run `dvc repro`"
        )
    return row
