"""Exports stay in their folder, hold what is kept, and say how to open them."""

import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from tasks.checksums import file_md5
from tasks.digests import files_below
from tasks.export import FORMATS, Format, export
from tasks.exporters.origin import read_origin
from tasks.exporters.source import Source
from tasks.params import InputError
from tasks.records import read_rows, slug
from tasks.shards import parse_uri
from tests.toys.datasets import rewrite


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_written_outside_the_folder(
    make_dataset: Callable[..., Path], tmp_path: Path, form: Format
) -> None:
    names = ("background", "../../../evil", "/etc/evil")
    ids = ("../../../evil", "/evil", "..", "a/../../b", "x\ny", "")
    root = make_dataset(names=names, ids=ids, prompt="../../../evil")
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    out = tmp_path / "deep/out"
    assert export(form, Source(root, read_origin(root), rejected=True), out) == {
        "train": 4,
        "val": 1,
        "rejected": 1,
    }
    made = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert made and all(path.is_relative_to(out) for path in made)
    assert all(re.fullmatch(r"[\w.-]+", path.name) for path in made)


def test_all_rows_come_along_with_their_verdicts(source: Source, tmp_path: Path) -> None:
    export("coco", source, tmp_path / "out")
    table = parquet.read_table(tmp_path / "out/dataset.parquet")
    assert not {"image", "label", "attention"} & set(table.column_names)
    rows = table.to_pylist()
    assert [row["exported"] for row in rows] == [*["train"] * 4, "val", None]
    assert [row["file"] for row in rows[:5]] == [slug(row["sample_id"]) for row in rows[:5]]
    assert rows[5]["file"] is None
    assert rows[5]["reason"] == "dog: area 0.010 below min_area 0.04"
    assert rows[5]["seed"] == 2**62 + 5


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_samples_are_named_and_left_out(
    source: Source, tmp_path: Path, form: Format, caplog: pytest.LogCaptureFixture
) -> None:
    def damage(number: int, row: dict[str, Any]) -> dict[str, Any]:
        beyond = "shard://data/image.tar?offset=99999999&size=10"
        return row | {"rule": "finite", "image": beyond} if number == 5 else row

    rewrite(source.root, damage)
    taken = Source(source.root, source.origin, rejected=True)
    with caplog.at_level(logging.WARNING):
        assert export(form, taken, tmp_path / "out") == {"train": 4, "val": 1}
    assert "1 samples, such as 0000000000000005" in caplog.text
    rows = read_rows(tmp_path / "out/dataset.parquet")
    assert (rows[5]["rule"], rows[5]["exported"]) == ("finite", None)


def test_two_exports_are_equal_byte_for_byte(source: Source, tmp_path: Path) -> None:
    for form in FORMATS:
        digests = []
        for name in ("a", "b"):
            export(form, source, tmp_path / name / form)
            files = files_below(tmp_path / name / form)
            digests.append({path.name: file_md5(path) for path in files})
        assert digests[0] == digests[1]


def test_nothing_to_export_is_told(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    root = make_dataset(ids=("a", "b"))
    source = Source(root, read_origin(root), splits=("val",))
    with pytest.raises(InputError, match=r"--split val: no sample .* --include-rejected"):
        export("voc", source, tmp_path / "out")
    (root / "data/dataset/classes.json").unlink()
    with pytest.raises(InputError, match=r"data/dataset/classes\.json missing; run `dvc repro`"):
        read_origin(root)


def test_a_map_that_was_not_made_is_told(source: Source, tmp_path: Path) -> None:
    asked = Source(source.root, source.origin, maps=("uncertainty",))
    with pytest.raises(InputError, match=r"sample 0+ has no uncertainty map; leave"):
        export("voc", asked, tmp_path / "out")


def test_tables_that_do_not_belong_together_are_told(source: Source, tmp_path: Path) -> None:
    rewrite(source.root, lambda number, row: row | {"sample_id": f"other{number}"})
    with pytest.raises(InputError, match="row other0 does not stand in its place"):
        export("voc", source, tmp_path / "out")


@pytest.mark.parametrize("kind", ["image", "label", "reliability"])
def test_a_flipped_byte_is_not_exported(source: Source, tmp_path: Path, kind: str) -> None:
    row = read_rows(source.root / "data/dataset/index.parquet")[2]
    member = parse_uri(row[kind])
    shard = source.root / member.path
    data = bytearray(shard.read_bytes())
    data[member.offset + member.size - 1] ^= 1  # of IEND's checksum: decoders do not mind
    shard.write_bytes(data)
    told = f"{member.path}: the {kind} of sample {row['sample_id']} is damaged.*lineage check"
    with pytest.raises(InputError, match=told):
        export("voc", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_id_that_stands_twice_is_told(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    root = make_dataset(ids=("a", "a"))
    with pytest.raises(InputError, match="two samples have the id a"):
        export("voc", Source(root, read_origin(root)), tmp_path / "out")


def test_markup_in_names_stays_text_in_the_readme(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    name = "<script>alert(1)</script> | a\n# b"
    root = make_dataset(names=("background", name))
    export("hf", Source(root, read_origin(root)), tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "| 1 | &lt;script&gt;alert(1)&lt;/script&gt; \\| a # b | 5 |" in text
    head = yaml.safe_load(text.split("---\n")[1])
    assert [one["split"] for one in head["configs"][0]["data_files"]] == ["train", "val"]


@pytest.mark.parametrize(
    ("form", "expression", "expected"),
    [
        ("coco", "mask.sum()", "34"),
        ("hf", "sample['label'].size", "(20, 12)"),
        ("mmseg", "len(dataset)", "4"),
        ("voc", "len(dataset)", "4"),
        ("webdataset", "len(list(samples))", "4"),
    ],
)
def test_the_readme_says_how_to_open_it(
    source: Source, tmp_path: Path, form: Format, expression: str, expected: str
) -> None:
    export(form, source, tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{code}\nprint({expression})"],
        cwd=tmp_path / "out",
        env={"HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == expected


def test_the_tables_are_read_in_parts(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tasks.exporters.source as module

    monkeypatch.setattr(module, "ROWS", 2)
    export("voc", source, tmp_path / "out")
    table = parquet.ParquetFile(tmp_path / "out/dataset.parquet")
    assert table.metadata.num_rows == 6
    assert isinstance(table.schema_arrow, pa.Schema)
    assert max(table.metadata.row_group(i).num_rows for i in range(table.num_row_groups)) == 2
