"""Single rows of large tables: only the column searched and the row's own group are read.

Imports no torch.
"""

from collections.abc import Iterator
from itertools import islice
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


def find_row(path: Path, column: str, value: str) -> Row | None:
    """The first row whose ``column`` is ``value``, all columns; None where there is none."""
    with parquet.ParquetFile(path) as file:
        for group, place, found in _beginning_with(file, column, value):
            if found == value:
                return _row(file, group, place)
    return None


def find_ids(path: Path, column: str, prefix: str, most: int) -> list[str]:
    """The values that begin with ``prefix``, in the order of the table, at most ``most``."""
    with parquet.ParquetFile(path) as file:
        found = _beginning_with(file, column, prefix)
        return [value for _, _, value in islice(found, most)]


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


def _beginning_with(
    file: parquet.ParquetFile, column: str, prefix: str
) -> Iterator[tuple[int, int, str]]:
    """Row group, place in it and value of all cells that begin so.

    By `pyarrow.compute.starts_with`: to compare with a value as such, pyarrow imports pandas.
    """
    for group, cells in _column(file, column):
        for place in pc.indices_nonzero(pc.starts_with(cells, prefix)).to_pylist():
            yield group, place, cells[place].as_py()


def _row(file: parquet.ParquetFile, group: int, place: int) -> Row:
    """Row ``place`` of a row group, read in parts: a table may have been written as one group."""
    for part in file.iter_batches(ROW_GROUP, row_groups=[group]):
        if place < len(part):
            row: Row = part.slice(place, 1).to_pylist()[0]
            return row
        place -= len(part)
    raise IndexError(place)
