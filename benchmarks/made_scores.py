"""Manifests of many samples with random scores, for timings without images."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from tasks import records

SHARD_SIZE = 500
SCORES_01 = ("area", "peak", "margin", "entropy", "agreement", "largest", "border", "quality")


def write_manifests(root: Path, count: int, names: list[str], seed: int) -> None:
    """Write the manifests of samples, masks, prompts and scores of ``count`` samples.

    Every prompt has its own text and one to three classes.
    """
    rng = np.random.default_rng(seed)
    ids = pa.array([f"{number:016x}" for number in range(count)])
    shard = pa.array([f"data/shards/{number // SHARD_SIZE:05d}.tar" for number in range(count)])
    offsets = pa.array(np.arange(count) % SHARD_SIZE * 1024)
    sizes = pa.array(rng.integers(100, 1000, count))

    def files(*kinds: str) -> dict[str, Any]:
        columns = {f"{kind}_offset": offsets for kind in kinds}
        return columns | {f"{kind}_size": sizes for kind in kinds}

    _write(
        root / "data/samples/index.parquet",
        records.SAMPLES,
        {"sample_id": ids, "prompt_id": ids, "shard": shard} | files("image", "attention"),
    )
    _write(
        root / "data/masks/index.parquet",
        records.MASKS,
        {"sample_id": ids, "shard": shard} | files("label", "reliability"),
    )
    texts = pa.array([f"a picture, number {number}" for number in range(count)])
    _write(root / "data/prompts.parquet", records.PROMPTS, {"prompt_id": ids, "text": texts})
    copies = rng.random(count) < 0.05
    distance = pa.array(rng.integers(0, 6, count), mask=~copies)
    original = pa.array(np.arange(count) * rng.random(count) // 1).cast(pa.int64())
    columns = {
        "sample_id": ids,
        "finite": pa.array(rng.random(count) > 0.001),
        "dark": pa.array(rng.random(count)),
        "contrast": pa.array(rng.uniform(0, 90, count)),
        "entropy": pa.array(rng.random(count)),
        "duplicate_of": pa.array(np.where(copies, ids.take(original).to_pylist(), "")),
        "duplicate_distance": distance,
        "similarity": pa.array(rng.random(count)),
        "quality": pa.array(rng.random(count)),
        "classes": _classes(rng, count, names),
    }
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    columns["hash"] = pa.array(np.where(copies, hashes[original.to_numpy()], hashes))
    _write(root / "data/scores/index.parquet", records.SCORES, columns)


def _classes(rng: np.random.Generator, count: int, names: list[str]) -> pa.ListArray:
    each = rng.integers(1, 4, count)
    total = int(each.sum())
    scores: dict[str, Any] = {name: rng.random(total) for name in SCORES_01}
    scores |= {
        "name": np.array(names, object)[rng.integers(0, len(names), total)],
        "components": rng.integers(1, 9, total),
        "similarity": rng.random(total),
    }
    arrays = [pa.array(scores[part.name]).cast(part.type) for part in records.SCORE_CLASS]
    entries = pa.StructArray.from_arrays(arrays, fields=list(records.SCORE_CLASS))
    return pa.ListArray.from_arrays(np.r_[0, np.cumsum(each)].astype(np.int32), entries)


def _write(path: Path, schema: pa.Schema, columns: dict[str, Any]) -> None:
    """A manifest; the schema's other columns are null."""
    count = len(next(iter(columns.values())))
    arrays = [
        columns[part.name].cast(part.type) if part.name in columns else pa.nulls(count, part.type)
        for part in schema
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd")
