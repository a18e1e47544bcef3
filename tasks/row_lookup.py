"""Single rows of large tables: only the column searched and the row's own group are read.

Imports no torch.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from tasks.records import ROW_GROUP

Row = dict[str, Any]

NEAR = 5
"""Candidates that are named where nothing matches."""


def has_columns(path: Path, columns: Sequence[str]) -> list[str]:
    """Those of ``columns`` that a table has; tables of earlier versions lack some."""
    names = set(parquet.read_schema(path).names)
    return [name for name in columns if name in names]


def find_row(path: Path, column: str, value: str) -> Row | None:
    """The first row whose ``column`` is ``value``, all columns; None where there is none."""
    with parquet.ParquetFile(path) as file:
        for group, cells in _column(file, column):
            place = pc.index(cells, value).as_py()
            if place >= 0:
                return _row(file, group, place)
    return None


def find_ids(path: Path, column: str, prefix: str, most: int) -> list[str]:
    """The values that begin with ``prefix``, in the order of the table, at most ``most``."""
    found: list[str] = []
    with parquet.ParquetFile(path) as file:
        for _, cells in _column(file, column):
            found += cells.filter(pc.starts_with(cells, prefix)).to_pylist()
            if len(found) >= most:
                break
    return found[:most]


def near_ids(path: Path, column: str, wanted: str, most: int = NEAR) -> list[str]:
    """The values that share most with ``wanted``: characters in the same place, best first."""
    letters = np.frombuffer(wanted.encode(), np.uint8)
    best: list[tuple[int, str]] = []
    with parquet.ParquetFile(path) as file:
        for _, cells in _column(file, column):
            padded = pc.utf8_slice_codeunits(pc.utf8_rpad(cells, len(letters)), 0, len(letters))
            fixed = padded.cast(pa.binary()).cast(pa.binary(len(letters)))
            table = np.frombuffer(fixed.buffers()[1], np.uint8).reshape(-1, len(letters))
            shared = (table[: len(fixed)] == letters).sum(axis=1)
            top = np.argsort(-shared, kind="stable")[:most]
            best += [(int(-shared[i]), cells[int(i)].as_py()) for i in top]
            best = sorted(best)[:most]
    return [value for _, value in best]


def _column(file: parquet.ParquetFile, column: str) -> Iterator[tuple[int, pa.Array]]:
    """Number of a row group and its cells of one column."""
    for group in range(file.num_row_groups):
        yield group, file.read_row_group(group, [column]).column(0).combine_chunks()


def _row(file: parquet.ParquetFile, group: int, place: int) -> Row:
    """Row ``place`` of a row group, read in parts: a table may have been written as one group."""
    for part in file.iter_batches(ROW_GROUP, row_groups=[group]):
        if place < len(part):
            row: Row = part.slice(place, 1).to_pylist()[0]
            return row
        place -= len(part)
    raise IndexError(place)
