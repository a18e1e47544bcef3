"""The tables: one parquet manifest a stage, one row a sample, and the ids that join them.

Ids are hashes of what a row is made from; no clock, no counter. Imports no torch.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import parquet

T = TypeVar("T")

PROMPT_CLASS = pa.struct(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("phrase", pa.string(), nullable=False),
        pa.field("start", pa.int32(), nullable=False),
        pa.field("end", pa.int32(), nullable=False),
        pa.field("relation", pa.string(), nullable=False),
        pa.field("depth", pa.int32(), nullable=False),
        pa.field("synset", pa.string(), nullable=False),
    ]
)
"""A class in a prompt: ``text[start:end] == phrase``; relation is plain, synonym or hyponym, depth
its levels below the class in the lexicon, synset what the word means ("" where nobody said)."""

PROMPTS = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("seed", pa.int64()),
        ("text", pa.string()),
        ("negative_prompt", pa.string()),
        ("classes", pa.list_(PROMPT_CLASS)),
        ("source", pa.string()),
        ("template", pa.string()),
        ("caption_id", pa.string()),
    ]
)
"""``data/prompts.parquet``: one row an image to sample. A row belongs to its first class; source is
templates, captions or classes_appended, with the template or the caption's id in its file."""

ROW_GROUP = 10_000
"""Rows that are held at a time where a table is written or read in parts."""

SAMPLES = pa.schema(
    [
        ("sample_id", pa.string()),
        ("prompt_id", pa.string()),
        ("seed", pa.int64()),
        ("shard", pa.string()),
        ("image_offset", pa.int64()),
        ("image_size", pa.int64()),
        ("attention_offset", pa.int64()),
        ("attention_size", pa.int64()),
        ("batch_size", pa.int32()),
        ("shard_digest", pa.string()),
    ]
)
"""``data/samples/index.parquet``. Image: PNG. Attention: see `tasks.captures`. The batch size is
that of sample_images, or a smaller one where the device's memory ran out: then the pixels may
differ by rounding from those of another run. The digest is the whole shard's SHA-256."""

MASK_CLASS = pa.struct(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("area", pa.float32(), nullable=False),
        pa.field("peak", pa.float32(), nullable=False),
        pa.field("margin", pa.float32(), nullable=False),
    ]
)
"""A class in a mask: share of the image, maximum of the
attention that the method read, mean margin inside it."""

MASKS = pa.schema(
    [
        ("sample_id", pa.string()),
        ("shard", pa.string()),
        ("label_offset", pa.int64()),
        ("label_size", pa.int64()),
        ("reliability_offset", pa.int64()),
        ("reliability_size", pa.int64()),
        ("uncertainty_offset", pa.int64()),
        ("uncertainty_size", pa.int64()),
        ("classes", pa.list_(MASK_CLASS)),
        ("shard_digest", pa.string()),
    ]
)
"""``data/masks/index.parquet``; the uncertainty is null where it was not asked for. The digest is
the whole shard's SHA-256."""

DATASET = pa.schema(
    [
        ("sample_id", pa.string()),
        ("prompt_id", pa.string()),
        ("text", pa.string()),
        ("classes", pa.list_(MASK_CLASS)),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("split", pa.string()),
        ("image", pa.string()),
        ("attention", pa.string()),
        ("label", pa.string()),
        ("reliability", pa.string()),
        ("uncertainty", pa.string()),
    ]
)
"""``data/dataset/index.parquet``: every sample with its verdict. ``split`` is train, val or, for
rejected ones, empty; image, attention, label, reliability and, if there is one, uncertainty are
shard addresses (`tasks.shards`)."""


def content_id(*parts: Any) -> str:
    """16 hex digits of the SHA-256 of ``parts`` as canonical JSON."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def content_seed(*parts: Any) -> int:
    """A seed, 0 to 2**63 - 1, from the same hash as `content_id`."""
    return int(content_id(*parts), 16) >> 1


def write_table(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Write ``rows`` as parquet, the same bytes for the same rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")


def write_rows(path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows as they come, as parquet, never holding more than a row group of them.

    The file appears as a whole or not at all, with the same bytes for the same rows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with parquet.ParquetWriter(partial, schema, compression="zstd") as writer:
        for part in batched(rows, ROW_GROUP):
            writer.write_table(pa.Table.from_pylist(part, schema=schema))
    partial.replace(path)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items, the last one shorter."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All rows of a manifest as dictionaries."""
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def stream_rows(path: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a manifest as they are asked for, never holding more than ``ROW_GROUP``."""
    with parquet.ParquetFile(path) as file:
        for part in file.iter_batches(ROW_GROUP, columns=columns):
            yield from part.to_pylist()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with a final newline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The value in a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
