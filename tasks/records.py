"""The tables: one parquet manifest a stage, one row a sample, and the ids that join them.

Ids are hashes of what a row is made from; no clock, no counter. Imports no torch.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import compute as pc
from pyarrow import parquet

from tasks.durable import new_file
from tasks.params import InputError

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

LONGEST_SLUG = 64
"""Characters of a name that its file name shows; a member of a tar file has room for 100."""

SAMPLES = pa.schema(
    [
        ("sample_id", pa.string()),
        ("prompt_id", pa.string()),
        ("seed", pa.int64()),
        ("shard", pa.string()),
        ("image_offset", pa.int64()),
        ("image_size", pa.int64()),
        ("image_crc32", pa.uint32()),
        ("attention_offset", pa.int64()),
        ("attention_size", pa.int64()),
        ("attention_crc32", pa.uint32()),
        ("batch_size", pa.int32()),
        ("shard_digest", pa.string()),
    ]
)
"""``data/samples/index.parquet``. Image: PNG. Attention: see `tasks.captures`. The CRC-32 is of the
member's bytes, so that a flipped byte can be told of the sample (`tasks.integrity`); the digest is
the whole shard's SHA-256. The batch size is that of sample_images, or a smaller one where the
device's memory ran out: then the pixels may differ by rounding from those of another run."""

MASK_CLASS = pa.struct(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("area", pa.float32(), nullable=False),
        pa.field("peak", pa.float32(), nullable=False),
        pa.field("margin", pa.float32(), nullable=False),
        pa.field("entropy", pa.float32()),
        pa.field("agreement", pa.float32()),
    ]
)
"""A class in a mask: share of the image, maximum of the attention that the method read, mean margin
inside it, mean normalised entropy of the class scores inside it (0 sure, 1 all classes alike), and
intersection over union of the class before refinement and after it."""

MASKS = pa.schema(
    [
        ("sample_id", pa.string()),
        ("shard", pa.string()),
        ("label_offset", pa.int64()),
        ("label_size", pa.int64()),
        ("label_crc32", pa.uint32()),
        ("reliability_offset", pa.int64()),
        ("reliability_size", pa.int64()),
        ("reliability_crc32", pa.uint32()),
        ("uncertainty_offset", pa.int64()),
        ("uncertainty_size", pa.int64()),
        ("uncertainty_crc32", pa.uint32()),
        ("entropy", pa.float32()),
        ("classes", pa.list_(MASK_CLASS)),
        ("shard_digest", pa.string()),
    ]
)
"""``data/masks/index.parquet``; the uncertainty is null where it was not asked for. Entropy: mean
over the image of the normalised entropy of the class scores. The digest is the whole shard's
SHA-256."""

SCORE_CLASS = pa.struct(
    [
        *MASK_CLASS,
        pa.field("components", pa.int32()),
        pa.field("largest", pa.float32()),
        pa.field("border", pa.float32()),
        pa.field("quality", pa.float32()),
        pa.field("similarity", pa.float32()),
    ]
)
"""A class's scores: those of `MASK_CLASS`, the number of its connected components, the share of its
area that the largest has, the share of its outline that lies on the image's border (0..1), and,
where they were asked for, label quality by cross-validation (0..1) and the cosine between the image
and the class's name (-1..1)."""

SCORES = pa.schema(
    [
        ("sample_id", pa.string()),
        ("finite", pa.bool_()),
        ("dark", pa.float32()),
        ("contrast", pa.float32()),
        ("entropy", pa.float32()),
        ("hash", pa.uint64()),
        ("duplicate_of", pa.string()),
        ("duplicate_distance", pa.int32()),
        ("similarity", pa.float32()),
        ("quality", pa.float32()),
        ("classes", pa.list_(SCORE_CLASS)),
    ]
)
"""``data/scores/index.parquet``, in the order of ``data/samples``. Finite: the image and label map
can be read and every score is a number. Dark: the share of pixels of at most 8 grey levels.
Contrast: standard deviation in grey levels. Hash: perceptual, see `tasks.near_duplicates`, with the
nearest earlier sample ("" and null where there is none) and the bits by which the two differ.
Similarity: cosine between image and prompt. Quality: as of a class, over the whole image."""

DATASET = pa.schema(
    [
        ("sample_id", pa.string()),
        ("prompt_id", pa.string()),
        ("text", pa.string()),
        ("classes", pa.list_(SCORE_CLASS)),
        ("kept", pa.bool_()),
        ("rule", pa.string()),
        ("reason", pa.string()),
        ("value", pa.float64()),
        ("bound", pa.float64()),
        ("split", pa.string()),
        ("image", pa.string()),
        ("attention", pa.string()),
        ("label", pa.string()),
        ("reliability", pa.string()),
        ("uncertainty", pa.string()),
    ]
)
"""``data/dataset/index.parquet``: every sample with its verdict. ``rule`` is the key of
``filter_masks`` that a rejected one breaks (or `FINITE`: its scores are no numbers), ``value`` its
score and ``bound`` what it is measured against; all are empty or null for kept ones. ``split`` is
train, val or, for rejected ones, empty; image, attention, label, reliability and, if there is one,
uncertainty are shard addresses (`tasks.shards`)."""


FINITE = "finite"
"""The rule that damaged samples break: nothing can be shown or exported of them."""


def content_id(*parts: Any) -> str:
    """16 hex digits of the SHA-256 of ``parts`` as canonical JSON."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def content_seed(*parts: Any) -> int:
    """A seed, 0 to 2**63 - 1, from the same hash as `content_id`."""
    return int(content_id(*parts), 16) >> 1


def slug(name: str) -> str:
    """A name as a file name: letters, digits, hyphens; a short hash keeps others apart."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:LONGEST_SLUG]
    return plain if plain and plain == name else f"{plain}-{content_id(name)[:6]}"


def write_table(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Write ``rows`` as parquet, the same bytes for the same rows.

    In row groups, so that a single row is read without the others (`tasks.row_lookup`). The file
    appears as a whole or not at all (`tasks.durable`).
    """
    table = pa.Table.from_pylist(rows, schema=schema)
    with new_file(path) as file:
        parquet.write_table(table, file, compression="zstd", row_group_size=ROW_GROUP)


def write_rows(path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows as they come, as parquet, never holding more than a row group of them.

    The file appears as a whole or not at all, with the same bytes for the same rows.
    """
    with new_file(path) as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for part in batched(rows, ROW_GROUP):
            writer.write_table(pa.Table.from_pylist(part, schema=schema))


def write_columns(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """As `write_rows`, of tables that have the schema's columns."""
    with new_file(path) as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table.select(schema.names).cast(schema))


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items, the last one shorter."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def join(table: pa.Table, key: str, wanted: pa.ChunkedArray, name: str) -> pa.Table:
    """The rows of ``table`` whose ``key`` is each of ``wanted``, in that order.

    Args:
        name: what to call the table.

    Raises:
        InputError: some are not there.
    """
    at = pc.index_in(wanted, value_set=table[key].combine_chunks())
    if at.null_count:
        lacking = wanted.filter(at.is_null())[0]
        raise InputError(
            f"{name} has no row for {key} {lacking} and {at.null_count - 1} others of data/samples;"
            " run the stage that wrote it again"
        )
    return table.take(at)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All rows of a manifest as dictionaries."""
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def stream_rows(
    path: Path, columns: list[str] | None = None, size: int = ROW_GROUP
) -> Iterator[dict[str, Any]]:
    """The rows of a manifest as they are asked for, ``size`` at a time.

    With pre_buffer, as is the default, the whole file would be held.
    """
    with parquet.ParquetFile(path, pre_buffer=False) as file:
        for part in file.iter_batches(size, columns=columns):
            yield from part.to_pylist()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with a final newline, whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    with new_file(path) as file:
        file.write(text.encode())


def read_json(path: Path) -> Any:
    """The value in a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
