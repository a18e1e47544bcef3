from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from tasks.row_lookup import find_ids, find_row, near_ids


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """25 rows in groups of ten; a value is the beginning of another."""
    names = [f"{number:02d}ab" for number in range(24)] + ["00abcd"]
    path = tmp_path / "table.parquet"
    rows = pa.table({"name": names, "number": list(range(25))})
    parquet.write_table(rows, path, row_group_size=10)
    return path


@pytest.mark.parametrize(("name", "number"), [("00ab", 0), ("13ab", 13), ("00abcd", 24)])
def test_a_row_is_found_in_whichever_group(table: Path, name: str, number: int) -> None:
    assert find_row(table, "name", name) == {"name": name, "number": number}


def test_a_beginning_is_no_row(table: Path) -> None:
    assert find_row(table, "name", "13a") is None
    assert find_row(table, "name", "99ab") is None


def test_ids_by_their_beginning(table: Path) -> None:
    assert find_ids(table, "name", "00", 5) == ["00ab", "00abcd"]
    assert find_ids(table, "name", "1", 3) == ["10ab", "11ab", "12ab"]
    assert find_ids(table, "name", "x", 3) == []


def test_near_ids_share_most_characters(table: Path) -> None:
    assert near_ids(table, "name", "2Xab", 2) == ["20ab", "21ab"]
    assert near_ids(table, "name", "00abcX", 2)[0] == "00abcd"
    assert near_ids(table, "name", "17", 1) == ["17ab"]


def test_a_table_of_one_group_is_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.row_lookup.ROW_GROUP", 10)
    path = tmp_path / "one.parquet"
    parquet.write_table(pa.table({"name": [f"{number:03d}" for number in range(100)]}), path)
    assert parquet.read_metadata(path).num_row_groups == 1
    assert find_row(path, "name", "057") == {"name": "057"}
