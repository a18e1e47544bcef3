"""A pipeline's manifests with any number of made-up samples, and next to no image behind them.

A row number gives its sample; in a later state some samples came, some went, some have another
image, label or verdict.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from tasks import records
from tasks.shards import Member, write_shard

SHARD_SIZE = 500
CLASSES = ("car", "boat", "tree", "house", "bird", "fish", "dog", "flower")
OTHER_IMAGE, OTHER_LABEL, OTHER_VERDICT = 0.05, 0.03, 0.10
"""Shares of the samples that differ in a later state."""


def ids(*parts: Any, rows: np.ndarray) -> list[str]:
    """16 hex digits for each row number, the same for the same parts and number."""
    key = int(records.content_id(*parts), 16)
    mixed = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(key)
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    return [f"{value:016x}" for value in mixed.tolist()]


def changed(kind: str, rows: np.ndarray, share: float) -> np.ndarray:
    """Which of the rows a kind of change concerns."""
    draws = np.array(ids("change", kind, rows=rows))
    return np.array([int(draw[:8], 16) for draw in draws]) < share * 2**32


def margins(rows: np.ndarray) -> np.ndarray:
    """The margin of each row number's class, 0..1 in steps that float32 holds exactly."""
    mixed = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    found: np.ndarray = (mixed >> np.uint64(40)) / 2**24
    return found


def write_state(root: Path, rows: np.ndarray, later: bool) -> dict[str, np.ndarray]:
    """Manifests of these rows, and the one shard of samples and of masks that is looked into.

    Returns:
        Kind of change -> the rows that it concerns; all False in the first state.
    """
    none = np.zeros(len(rows), bool)
    differ = {
        kind: changed(kind, rows, share) if later else none
        for kind, share in (
            ("images", OTHER_IMAGE),
            ("labels", OTHER_LABEL),
            ("verdicts", OTHER_VERDICT),
        )
    }
    writers = {
        path: _writer(root / path, schema)
        for path, schema in (
            ("data/prompts.parquet", records.PROMPTS),
            ("data/samples/index.parquet", records.SAMPLES),
            ("data/masks/index.parquet", records.MASKS),
            ("data/scores/index.parquet", records.SCORES),
            ("data/dataset/index.parquet", records.DATASET),
        )
    }
    for first in range(0, len(rows), records.ROW_GROUP):
        part = slice(first, first + records.ROW_GROUP)
        tables = _tables(rows[part], {kind: values[part] for kind, values in differ.items()})
        for writer, table in zip(writers.values(), tables, strict=True):
            writer.write_table(table)
    for writer in writers.values():
        writer.close()
    last = ids("sample", rows=rows[-1:])[0]
    shard = _shard(rows[-1])
    write_shard(root / f"data/samples/shards/{shard}", [(f"{last}.png", bytes(100))])
    write_shard(root / f"data/masks/shards/{shard}", [(f"{last}.label.png", bytes(100))])
    records.write_json(root / "data/dataset/classes.json", ["background", *CLASSES])
    records.write_json(root / "metrics/filter.json", {"samples": len(rows)})
    records.write_json(root / "metrics/preflight.json", {"ok": True})
    model = {"pipeline": "StableDiffusionPipeline", "digest": "ab" * 32}
    records.write_json(root / "data/inputs/model.json", model)
    records.write_json(root / "models/lora/adapter.json", {"source": "none", "digest": None})
    return differ


def _tables(rows: np.ndarray, differ: dict[str, np.ndarray]) -> tuple[pa.Table, ...]:
    """Prompts, samples, masks, scores and dataset of some rows."""
    prompt_ids, sample_ids = ids("prompt", rows=rows), ids("sample", rows=rows)
    seeds = [int(value, 16) >> 1 for value in prompt_ids]
    names = [CLASSES[row % len(CLASSES)] for row in rows.tolist()]
    texts = [
        f"a picture of a {name} on grass, {row}" for name, row in zip(names, rows, strict=True)
    ]
    shards = [_shard(row) for row in rows.tolist()]
    at = (rows % SHARD_SIZE * 3072 + 512).tolist()
    crc = {
        kind: (rows + 1_000_000_000 * differ[kind]).astype(np.uint32)
        for kind in ("images", "labels")
    }
    scores = [
        [{"name": name, "area": 0.2, "peak": 0.5, "margin": margin}]
        for name, margin in zip(names, margins(rows).tolist(), strict=True)
    ]
    kept = (rows % 10 != 0) ^ differ["verdicts"]
    words = [
        [
            {
                "name": name,
                "phrase": name,
                "start": 15,
                "end": 15 + len(name),
                "relation": "plain",
                "depth": 0,
                "synset": "",
            }
        ]
        for name in names
    ]
    prompts = {
        "prompt_id": prompt_ids,
        "seed": seeds,
        "text": texts,
        "negative_prompt": [""] * len(rows),
        "classes": words,
        "source": ["templates"] * len(rows),
        "template": ["a picture of a {} on grass"] * len(rows),
        "caption_id": [""] * len(rows),
    }
    place = {"offset": at, "size": [100] * len(rows)}
    samples = {
        "sample_id": sample_ids,
        "prompt_id": prompt_ids,
        "seed": seeds,
        "shard": [f"data/samples/shards/{name}" for name in shards],
        **{f"image_{key}": value for key, value in place.items()},
        "image_crc32": crc["images"],
        **{f"attention_{key}": value for key, value in place.items()},
        "attention_crc32": crc["images"],
    }
    masks = {
        "sample_id": sample_ids,
        "shard": [f"data/masks/shards/{name}" for name in shards],
        **{f"label_{key}": value for key, value in place.items()},
        "label_crc32": crc["labels"],
        **{f"reliability_{key}": value for key, value in place.items()},
        "reliability_crc32": crc["labels"],
        "classes": scores,
    }
    scored = {
        "sample_id": sample_ids,
        "finite": [True] * len(rows),
        "dark": [0.1] * len(rows),
        "contrast": [40.0] * len(rows),
        "classes": scores,
    }
    addresses = {
        folder: [
            Member(f"data/{folder}/shards/{name}", offset, 100).uri
            for name, offset in zip(shards, at, strict=True)
        ]
        for folder in ("samples", "masks")
    }
    dataset = {
        "sample_id": sample_ids,
        "prompt_id": prompt_ids,
        "text": texts,
        "classes": scores,
        "kept": kept,
        "reason": ["" if one else "area 0.010 below min_area 0.04" for one in kept],
        "split": ["train" if one else "" for one in kept],
        "image": addresses["samples"],
        "attention": addresses["samples"],
        "label": addresses["masks"],
        "reliability": addresses["masks"],
    }
    schemas = (records.PROMPTS, records.SAMPLES, records.MASKS, records.SCORES, records.DATASET)
    columns = (prompts, samples, masks, scored, dataset)
    return tuple(_table(one, schema) for one, schema in zip(columns, schemas, strict=True))


def _table(columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    """Of ``schema``; columns that are not given are null."""
    count = len(next(iter(columns.values())))
    arrays = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(count, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _writer(path: Path, schema: pa.Schema) -> parquet.ParquetWriter:
    path.parent.mkdir(parents=True, exist_ok=True)
    return parquet.ParquetWriter(path, schema, compression="zstd")


def _shard(row: int) -> str:
    return f"{CLASSES[row % len(CLASSES)]}-{row // SHARD_SIZE:04d}.tar"
