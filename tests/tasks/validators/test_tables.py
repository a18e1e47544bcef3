"""Planted defects of Parquet tables are named by file and rule."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from tasks.label_maps import encode_image, encode_label
from tasks.validators.layouts import read_tree
from tests.toys.trees import IMAGE, LABEL, check, found


def test_pictures_that_are_text_are_named(tmp_path: Path) -> None:
    text = pa.array([{"bytes": "a picture"}])
    table = pa.table({"image": text, "label": text, "reliability": pa.array([3])})
    parquet.write_table(table, tmp_path / "a.parquet")
    row = "a.parquet: row 0, "
    names = ("image", "label", "reliability")
    assert found(check(tmp_path)) == [(f"{row}{name}", "pair") for name in names]


def test_planted_defects_of_tables_are_named(tmp_path: Path) -> None:
    image, label = encode_image(IMAGE), encode_label(LABEL)
    rows = [
        {"image": {"bytes": image, "path": None}, "label": {"bytes": label, "path": None}},
        {"image": {"bytes": image, "path": None}, "label": None},
        {"image": {"bytes": None, "path": "/etc/passwd"}, "label": {"bytes": label}},
        {"image": {"bytes": b"x"}, "label": {"bytes": encode_label(LABEL[1:])}},
    ]
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", picture), ("label", picture)])
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(data[:-20])
    report = check(tmp_path, classes="1")
    assert found(report) == [
        ("a.parquet: row 0, label", "values"),
        ("a.parquet: row 1, label", "pair"),
        ("a.parquet: row 2, image", "pair"),
        ("a.parquet: row 3, image", "unreadable"),
        ("a.parquet: row 3, label", "values"),
        ("b.parquet", "unreadable"),
    ]


def test_a_table_with_a_path_that_is_no_text_is_named(tmp_path: Path) -> None:
    paths = pa.array([b"\xff"], pa.binary()).view(pa.string())
    files = pa.array([encode_image(IMAGE)], pa.binary())
    picture = pa.StructArray.from_arrays([files, paths], ["bytes", "path"])
    parquet.write_table(pa.table({"image": picture, "label": picture}), tmp_path / "a.parquet")
    assert found(check(tmp_path)) == [("a.parquet", "unreadable")]


def test_tables_are_not_held_in_memory(tmp_path: Path) -> None:
    picture = pa.struct([("bytes", pa.binary())])
    schema = pa.schema([("image", picture), ("label", picture)])
    data = np.random.default_rng(0).bytes(2**17)
    rows = [{"image": {"bytes": data}, "label": {"bytes": data}}] * 4
    with parquet.ParquetWriter(tmp_path / "a.parquet", schema, use_dictionary=False) as writer:
        for _ in range(40):  # 40 MB in row groups of 1 MB
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in read_tree(tmp_path, "hf", None).entries]
    assert len(held) == 160
    assert max(held) < 10 * 2**20
