"""Hugging Face's Parquet with pictures inside, read some rows at a time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from tasks.validators.findings import Blob, Classes, Entry, Finding, Tree, lonely
from tasks.validators.pairs import MAPS, Pair

IMAGES = ("image", "img", "pixel_values")
LABELS = ("label", "mask", "annotation", "segmentation", "labels", "segmentation_mask")
ROWS = 16
"""Rows that are read at a time."""


def picture_columns(schema: pa.Schema) -> tuple[str, str] | None:
    """The columns of image and label map; None where there are none."""
    found = {
        field.name
        for field in schema
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
    }
    image = next((name for name in IMAGES if name in found), None)
    label = next((name for name in LABELS if name in found), None)
    return (image, label) if image and label else None


def find_tables(tree: Path) -> list[Path]:
    """The Parquet files below a folder that hold images and label maps."""
    found = []
    for path in sorted(tree.rglob("*.parquet")):
        try:
            if picture_columns(parquet.read_schema(path)):
                found.append(path)
        except (pa.ArrowException, OSError):
            found.append(path)  # said when it is read
    return found


def class_names(tables: list[Path]) -> tuple[str, ...]:
    """The names of a feature of class labels, from the schema's metadata; empty without one."""
    for path in tables:
        try:
            metadata = parquet.read_schema(path).metadata or {}
            features = json.loads(metadata[b"huggingface"])["info"]["features"]
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
            continue
        for feature in features.values() if isinstance(features, dict) else ():
            inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
            names = inner.get("names") if isinstance(inner, dict) else None
            if isinstance(names, list):
                return tuple(map(str, names))
    return ()


def open_tables(tree: Path, classes: Classes) -> Tree:
    """All tables of pictures below a folder."""
    tables = find_tables(tree)
    total = 0
    for path in tables:
        try:
            total += parquet.read_metadata(path).num_rows
        except (pa.ArrowException, OSError):
            continue
    return Tree("hf", classes, total, _entries(tree, tables))


def _entries(tree: Path, tables: list[Path]) -> Iterator[Entry | Finding]:
    for path in tables:
        shown = path.relative_to(tree).as_posix()
        try:
            # With pre_buffer, as is the default, the whole file would be held.
            with parquet.ParquetFile(path, pre_buffer=False) as file:
                yield from _rows(file, shown, path.name.startswith("rejected-"))
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            yield Finding(shown, "unreadable", str(error).partition("\n")[0], "write it again")


def _rows(file: parquet.ParquetFile, shown: str, rejected: bool) -> Iterator[Entry | Finding]:
    columns = picture_columns(file.schema_arrow)
    if columns is None:
        return
    image, label = columns
    maps = [name for name in MAPS if name in file.schema_arrow.names]
    number = 0
    for batch in file.iter_batches(ROWS, columns=[image, label, *maps]):
        for row in batch.to_pylist():
            place = f"{shown}: row {number}"
            number += 1
            missing = [name for name in (image, label, *maps) if not _bytes(row[name])]
            for name in missing:
                yield lonely(f"{place}, {name}", "no picture", "embed its bytes, or drop the row")
            if not missing:
                blobs = {name: Blob(f"{place}, {name}", row[name]["bytes"]) for name in row}
                yield Pair(
                    blobs[image], blobs[label], tuple(blobs[name] for name in maps), rejected
                )


def _bytes(value: Any) -> bytes | None:
    data = value.get("bytes") if isinstance(value, dict) else None
    return data if isinstance(data, bytes) else None  # a foreign table may hold text
