"""The joined table and its parts."""

import base64
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tasks import report_samples
from tasks.params import InputError
from tasks.report_parts import utf16_offset, write_parts
from tasks.report_samples import read_samples
from tests.toys.reports import name_car_twice

Row = dict[str, Any]


def read_part(path: Path) -> Row:
    """What a script hands to the page."""
    text = path.read_text().partition(",")[2].removesuffix(");\n")
    value: Row = json.loads(text)
    return value


def unpack(text: str, dtype: str) -> list[Any]:
    return np.frombuffer(base64.b64decode(text), dtype).tolist()


def write_scores(root: Path) -> None:
    """A table of scores in another order, with more of them by class and by image."""
    rows = [
        {
            "sample_id": f"sample-{number}",
            "dark": number / 4,
            "finite": True,
            "hash": 7,
            "duplicate_of": "sample-0" if number == 2 else "",
            "classes": [{"name": name, "area": 0.9, "border": 0.5} for name in ("boat", "car")],
        }
        for number in (2, 0, 1)
    ]
    path = root / "data/scores/index.parquet"
    path.parent.mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)


def test_a_row_knows_its_prompt_and_its_scores(finished_run: Path) -> None:
    write_scores(finished_run)
    samples = read_samples(finished_run)
    assert len(samples) == 3 and samples.entries == 4 and samples.prompts == 3
    assert samples.first_classes() == ["car", "car", "boat"]
    assert samples.rules() == ["", "min_area"]
    assert samples.scores() == (["area", "peak", "margin", "border"], ["dark"])
    (start, rows), *others = samples.parts()
    assert start == 0 and others == []
    assert [row["seed"] for row in rows] == [2**62, 2**62 + 1, 2**62 + 2]
    assert [row["dark"] for row in rows] == [0, 0.25, 0.5]
    first = rows[0]["classes"][0]
    assert (first["border"], first["phrase"]) == (0.5, "car")
    assert first["area"] == pytest.approx(0.3)


def test_a_class_that_a_prompt_names_twice_is_marked_where_it_stands_first(
    finished_run: Path,
) -> None:
    name_car_twice(finished_run)
    samples = read_samples(finished_run)
    (row,) = samples.part(1, 1)
    told = [(one["name"], one["phrase"]) for one in row["classes"]]
    assert told == [("car", "script"), ("boat", "boat")]
    assert samples.named([2, 1]) == [["boat"], ["car", "boat", "car"]]


def test_parts_hold_columns_that_the_page_unpacks(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scores(finished_run)
    monkeypatch.setattr(report_samples, "PART", 2)
    out = tmp_path / "out"
    write_parts(read_samples(finished_run), ["car", "boat"], {1: 0}, out)
    assert sorted(path.name for path in out.iterdir()) == [
        "lineage-0000.js",
        "lineage-0001.js",
        "table-0000.js",
        "table-0001.js",
    ]
    first, second = (read_part(out / f"table-000{number}.js") for number in range(2))
    assert first["ids"] == ["sample-0", "sample-1"]
    assert unpack(first["picture"], "<u4") == [0, 1]
    assert unpack(first["counts"], "<u2") == [1, 2]
    assert unpack(first["class"], "<u2") == [0, 0, 1]
    assert unpack(first["relation"], "u1") == [0, 0, 2]
    assert unpack(first["split"], "u1") == [1, 2]
    assert unpack(first["scores"]["border"], "<f4") == [0.5] * 3
    assert (second["start"], second["entry"]) == (2, 3)
    assert unpack(second["kept"], "u1") == [0] and unpack(second["rule"], "<u2") == [1]
    assert second["reasons"] == {"0": "boat: area 0.020 below min_area 0.04"}
    lineage = read_part(out / "lineage-0001.js")
    assert lineage["columns"]["seed"] == [str(2**62 + 2)]
    assert lineage["columns"]["batch_size"] == ["4"]
    assert not {"shard", "image_offset", "image_crc32"} & set(lineage["columns"])
    assert lineage["columns"]["negative_prompt"] == ["shard://is no address here"]
    assert lineage["columns"]["duplicate_of"] == ["sample-0"]
    assert lineage["shards"] == ["data/samples/shards/2.tar"]
    assert lineage["addresses"]["image"][0][:2] == [0, 512]
    shard = (finished_run / "data/samples/shards/2.tar").read_bytes()
    assert lineage["digests"] == [hashlib.sha256(shard).hexdigest()]
    for part in ("image", "attention", "label", "reliability"):
        ((_, offset, size, crc32),) = lineage["addresses"][part]
        assert zlib.crc32(shard[offset : offset + size]) == crc32
    assert lineage["words"] == [[["", 0]]]
    assert not {"text", "classes", "image"} & set(lineage["columns"])
    # The verdict and the table of scores tell these.
    assert not {"value", "bound", "finite", "dark", "contrast"} & set(lineage["columns"])


def test_sums_that_nobody_kept_are_left_out(finished_run: Path, tmp_path: Path) -> None:
    (finished_run / "data/masks/index.parquet").unlink()
    path = finished_run / "data/samples/index.parquet"
    parquet.write_table(parquet.read_table(path).drop(["shard_digest", "image_crc32"]), path)
    write_parts(read_samples(finished_run), ["car", "boat"], {}, tmp_path / "out")
    lineage = read_part(tmp_path / "out/lineage-0000.js")
    assert lineage["digests"] == [None] * 3
    last = {part: found[0][3] for part, found in lineage["addresses"].items() if found[0]}
    assert {part for part, crc32 in last.items() if crc32 is not None} == {"attention"}


def test_places_in_a_text_are_those_of_javascript() -> None:
    text = "\u2764 \U0001f697 car"
    at = text.index("car")
    assert utf16_offset(text, at) == len(text[:at].encode("utf-16-le")) // 2 == at + 1
    assert utf16_offset("a car", 2) == 2


def test_tables_of_different_runs_are_refused(finished_run: Path) -> None:
    path = finished_run / "data/prompts.parquet"
    parquet.write_table(parquet.read_table(path).slice(0, 2), path)
    with pytest.raises(InputError, match=r"prompt_id p2 is not in data/prompts\.parquet"):
        read_samples(finished_run)


def test_rules_are_read_from_their_column_where_there_is_one(finished_run: Path) -> None:
    path = finished_run / "data/dataset/index.parquet"
    rows = parquet.read_table(path).to_pylist()
    for row in rows:
        row["rule"] = "" if row["kept"] else "duplicates"
    parquet.write_table(pa.Table.from_pylist(rows), path)
    assert read_samples(finished_run).rules() == ["", "duplicates"]
