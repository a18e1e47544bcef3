"""Ids are content, and tables are the same bytes for the same rows."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks import records
from tasks.records import (
    DATASET,
    MASKS,
    PROMPTS,
    SAMPLES,
    SCORES,
    content_id,
    content_seed,
    read_json,
    read_rows,
    slug,
    write_columns,
    write_json,
    write_rows,
    write_table,
)

ROOT = Path(__file__).parents[2]

PROMPT: dict[str, Any] = {
    "prompt_id": "0123456789abcdef",
    "seed": 2**63 - 1,
    "text": "an oak under a grey sky",
    "negative_prompt": "",
    "classes": [
        {
            "name": "tree",
            "phrase": "oak",
            "start": 3,
            "end": 6,
            "relation": "hyponym",
            "depth": 1,
            "synset": "n12268246",
        }
    ],
    "source": "templates",
    "template": "a {} under a grey sky",
    "caption_id": "",
}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((), "4f53cda18c2baa0c"),  # sha256 of []
        (("car", 3), "2f113e2fcb0b02a3"),
        ((["car", 3],), "4135fe65348a0600"),
        (({"b": 1, "a": None},), "15e4f66862e8bee9"),
        (("Öl",), "7ee5d10083377eed"),
    ],
)
def test_an_id_begins_the_sha256_of_canonical_json(parts: tuple[Any, ...], expected: str) -> None:
    """The expected values are those of ``printf '["car",3]' | sha256sum``."""
    assert content_id(*parts) == expected
    assert content_seed(*parts) == int(expected, 16) // 2


def test_an_id_does_not_depend_on_the_order_of_keys() -> None:
    assert content_id({"a": 1, "b": 2}) == content_id({"b": 2, "a": 1})
    assert content_id(["a", "b"]) != content_id(["b", "a"])
    assert content_id("a", "b") != content_id("ab")


def test_an_id_does_not_depend_on_the_hash_seed() -> None:
    code = "from tasks.records import content_id; print(content_id({'b': 1, 'a': None}))"
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert printed == {"15e4f66862e8bee9\n"}


def test_seeds_fit_a_signed_64_bit_column() -> None:
    seeds = [content_seed("row", number) for number in range(1000)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert len(set(seeds)) == 1000


def test_rows_come_back_as_they_were_and_files_are_byte_equal(tmp_path: Path) -> None:
    rows = [PROMPT, PROMPT | {"text": "eine Straße", "classes": []}]
    for name in ("a", "b"):
        write_table(tmp_path / name / "prompts.parquet", rows, PROMPTS)
    assert read_rows(tmp_path / "a/prompts.parquet") == rows
    one, two = ((tmp_path / name / "prompts.parquet").read_bytes() for name in ("a", "b"))
    assert one == two


@pytest.mark.parametrize("schema", [PROMPTS, SAMPLES, MASKS, SCORES, DATASET])
def test_a_table_without_rows_keeps_its_columns(tmp_path: Path, schema: pa.Schema) -> None:
    write_table(tmp_path / "empty.parquet", [], schema)
    assert read_rows(tmp_path / "empty.parquet") == []
    assert pa.parquet.read_schema(tmp_path / "empty.parquet").names == schema.names


@pytest.mark.parametrize("way", ["table", "rows", "columns"])
def test_a_manifest_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    path, done = tmp_path / "new/index.parquet", []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(handle: int) -> None:
        name = Path(f"/proc/self/fd/{handle}").readlink()
        whole = name.is_file() and read_rows(name) == [PROMPT]
        done.append(("flushed", "folder" if name.is_dir() else whole))
        fsync(handle)

    def watched_replace(source: Path, target: Path) -> None:
        done.append(("renamed", target == path))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    if way == "table":
        write_table(path, [PROMPT], PROMPTS)
    elif way == "rows":
        write_rows(path, iter([PROMPT]), PROMPTS)
    else:
        write_columns(path, [pa.Table.from_pylist([PROMPT], schema=PROMPTS)], PROMPTS)
    assert done == [("flushed", True), ("renamed", True), ("flushed", "folder")]
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_value_of_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        write_table(tmp_path / "bad.parquet", [PROMPT | {"seed": "seven"}], PROMPTS)


def test_json_is_readable_and_comes_back(tmp_path: Path) -> None:
    value = {"name": "Straße", "iou": [0.5, None]}
    write_json(tmp_path / "new/value.json", value)
    text = (tmp_path / "new/value.json").read_text(encoding="utf-8")
    assert text == '{\n  "name": "Straße",\n  "iou": [\n    0.5,\n    null\n  ]\n}\n'
    assert read_json(tmp_path / "new/value.json") == value


def test_json_takes_a_name_and_leaves_what_was_linked_there_as_it_was(tmp_path: Path) -> None:
    write_json(tmp_path / "kept.json", 1)
    (tmp_path / "linked.json").hardlink_to(tmp_path / "kept.json")
    write_json(tmp_path / "linked.json", 2)
    assert (read_json(tmp_path / "kept.json"), read_json(tmp_path / "linked.json")) == (1, 2)


def test_file_names_keep_names_apart_and_stay_in_their_folder() -> None:
    assert slug("car") == "car"
    assert slug("Traffic Light") != slug("traffic/light")
    assert slug("../etc").startswith("etc-")
    assert len({slug(name) for name in ("", "..", "/", "\n", "犬")}) == 5
    assert len(slug("a" * 5000)) == 71
    assert slug("a" * 5000) != slug("a" * 5001)


def test_rows_are_streamed_a_part_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come as they are asked for, whole or some columns, and those inside of structs."""
    monkeypatch.setattr(records, "ROW_GROUP", 4)
    given: list[int] = []
    schema = pa.schema([("n", pa.int64()), ("classes", pa.list_(records.PROMPT_CLASS))])
    one = {"phrase": "", "start": 0, "end": 0, "relation": "", "depth": 0, "synset": ""}

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(10):
            given.append(number)
            yield {"n": number, "classes": [{"name": f"c{number}", **one}]}

    path = tmp_path / "table.parquet"
    records.write_rows(path, rows(), schema)
    assert given == list(range(10)) and list(tmp_path.iterdir()) == [path]
    assert [row["n"] for row in records.stream_rows(path)] == given
    named = list(records.stream_rows(path, ["n", "classes.list.element.name"]))
    assert named[9] == {"n": 9, "classes": [{"name": "c9"}]}


def test_rows_that_fail_half_way_leave_the_old_table(tmp_path: Path) -> None:
    schema, path = pa.schema([("n", pa.int64())]), tmp_path / "table.parquet"
    records.write_rows(path, [{"n": 1}], schema)

    def failing() -> Iterator[dict[str, Any]]:
        yield {"n": 2}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        records.write_rows(path, failing(), schema)
    assert list(records.stream_rows(path)) == [{"n": 1}]
