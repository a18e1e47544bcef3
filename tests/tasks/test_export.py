"""Exports stay in their folder, say where they come from, and replace no work of the user's."""

import io
import json
import logging
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from PIL import Image
from pyarrow import parquet

from tasks.checksums import file_md5
from tasks.digests import files_below
from tasks.export import FORMATS, Format, check_out, export
from tasks.exporters.origin import read_origin
from tasks.exporters.source import Source
from tasks.image_provenance import DIGITAL_SOURCE_TYPE
from tasks.params import InputError
from tasks.records import DATASET, read_json, read_rows, slug, write_json, write_table
from tasks.shards import parse_uri

ROOT = Path(__file__).parents[2]
PROMPT = 'a "../../x"\r\n<img src=x> | [bold] \x1b[31m 犬'


@pytest.fixture
def source(make_dataset: Callable[..., Path]) -> Source:
    root = make_dataset()
    return Source(root, read_origin(root))


def rewrite(root: Path, change: Callable[[int, dict[str, Any]], dict[str, Any]]) -> None:
    path = root / "data/dataset/index.parquet"
    rows = [change(number, row) for number, row in enumerate(read_rows(path))]
    write_table(path, rows, DATASET)


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


IMAGES = {
    "coco": "*/*",
    "fiftyone": "data/*",
    "mmseg": "img_dir/*/*",
    "voc": "JPEGImages/*",
}
"""Where the images lie, of formats that have a file for each."""


def images(form: Format, out: Path, suffix: str) -> dict[str, bytes]:
    """The exported images of all splits, as they lie in a format's files: name -> bytes."""
    if form == "hf":
        tables = [parquet.read_table(path) for path in sorted((out / "data").iterdir())]
        pictures = [row["image"] for table in tables for row in table.to_pylist()]
        return {Path(one["path"]).stem: one["bytes"] for one in pictures}
    if form == "webdataset":
        found = {}
        for path in sorted(out.glob("*.tar")):
            with tarfile.open(path) as tar:
                for name in tar.getnames():
                    stem, dot, kind = name.partition(".")
                    if dot + kind == suffix:  # and no map, such as 00.label.png
                        found[stem] = tar.extractfile(name).read()
        return found
    return {path.stem: path.read_bytes() for path in out.glob(f"{IMAGES[form]}{suffix}")}


@pytest.mark.parametrize("jpeg", [False, True], ids=["png", "jpeg"])
@pytest.mark.parametrize("form", FORMATS)
def test_every_image_carries_its_provenance(
    make_dataset: Callable[..., Path], tmp_path: Path, form: Format, jpeg: bool
) -> None:
    root = make_dataset(prompt=PROMPT)
    source = Source(root, read_origin(root), jpeg=jpeg)
    export(form, source, tmp_path / "out")
    found = images(form, tmp_path / "out", ".jpg" if jpeg else ".png")
    kept = [row["sample_id"] for row in read_rows(source.index) if row["kept"]]
    assert sorted(found) == sorted(map(slug, kept)) and len(found) == 5
    assert DIGITAL_SOURCE_TYPE.endswith("/trainedAlgorithmicMedia")
    for number, sample in enumerate(kept):
        data = found[slug(sample)]
        image = Image.open(io.BytesIO(data))
        assert image.format == ("JPEG" if jpeg else "PNG")
        packet = (image.info["xmp"] if jpeg else image.info["XML:com.adobe.xmp"]) or b""
        text = packet.decode() if isinstance(packet, bytes) else packet
        assert text.encode() in data, "the bytes say it, uncompressed"
        assert DIGITAL_SOURCE_TYPE in text
        assert f">{sample}<" in text
        assert f">{2**62 + number}<" in text
        assert f">{'d' * 64}<" in text
        assert ">abc at 1.0<" in text
        assert "<img" not in text and "&lt;img src=x&gt;" in text
        if not jpeg:
            assert image.info["Description"] == PROMPT


def test_the_manifest_counts_and_names_the_source(source: Source, tmp_path: Path) -> None:
    export("mmseg", Source(source.root, source.origin, splits=("train",)), tmp_path / "out")
    facts = read_json(tmp_path / "out/manifest.json")
    assert facts["format"] == "mmseg"
    assert facts["classes"] == ["background", "car", "dog"]
    assert facts["samples"] == {"train": 4}
    assert facts["samples_per_class"] == {"car": 0, "dog": 4}
    assert facts["maps"] == ["label", "reliability"]
    origin = facts["origin"]
    assert origin["model"] == "models/storybook-sd"
    assert origin["model_digest"] == "d" * 64
    assert origin["adapter"] == "abc at 1.0"
    assert origin["parameters_from"] == "params.yaml"
    assert origin["revision"] is None


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


def lock_dataset(root: Path) -> None:
    """A ``dvc.lock`` in which preflight has run with another model since the samples were made."""

    def params(model: str, scale: float) -> dict[str, Any]:
        return {"params.yaml": {"sample_images": {"model": model}, "adapt_lora.scale": scale}}

    used = [
        {"path": path, "md5": file_md5(root / path)}
        for path in ("data/inputs/model.json", "models/lora/adapter.json")
    ]
    made = [{"path": "data/dataset", "md5": read_origin(root).dataset_md5}]
    stages = {
        "preflight": {
            "params": params("org/new", 0.9),
            "outs": [{"path": "data/inputs/model.json", "md5": "2" * 32}],
        },
        "sample_images": {
            "deps": used,
            "params": params("org/old", 0.5),
            "outs": [{"path": "data/samples", "md5": "1" * 32}],
        },
        "filter_masks": {"deps": [{"path": "data/samples", "md5": "1" * 32}], "outs": made},
    }
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))


def test_parameters_are_those_of_the_lock_if_it_is_of_this_dataset(
    make_dataset: Callable[..., Path],
) -> None:
    root = make_dataset()
    plain = read_origin(root)
    lock_dataset(root)
    locked = read_origin(root)
    assert (locked.model, locked.model_digest) == ("org/old", "d" * 64)
    assert locked.adapter == "abc at 0.5"
    assert locked.parameters_from == "dvc.lock"
    assert locked.parameters_digest != plain.parameters_digest
    assert locked.revision is None

    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "dvc.lock"], [*author, "commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=root, check=True, capture_output=True, text=True
    )
    assert read_origin(root).revision == head.stdout.strip()

    rewrite(root, lambda _, row: row | {"text": "another"})
    changed = read_origin(root)
    assert changed.parameters_from == "params.yaml"
    assert changed.revision is None


def test_a_model_that_preflight_found_later_is_not_stamped(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_dataset()
    lock_dataset(root)
    write_json(root / "data/inputs/model.json", {"digest": "e" * 64})
    write_json(root / "models/lora/adapter.json", {"digest": "new"})
    origin = read_origin(root)
    # No cache keeps the records of the old ones.
    assert (origin.model, origin.model_digest, origin.adapter) == ("org/old", None, None)
    export("voc", Source(root, origin), tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "org/old (digest not known any more)" in text
    picture = next((tmp_path / "out/JPEGImages").iterdir()).read_bytes()
    assert b"org/old" in picture and b"e" * 64 not in picture
    assert b"VersionUsed" not in picture


def test_what_is_there_is_not_replaced(source: Source, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    check_out(out, overwrite=False)  # empty
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="no empty folder; choose another, or replace an export"):
        check_out(out, overwrite=False)
    with pytest.raises(InputError, match="is not replaced, as it is no export"):
        check_out(out, overwrite=True)
    (out / "thesis.tex").unlink()
    export("voc", source, out)
    with pytest.raises(InputError):
        check_out(out, overwrite=False)
    check_out(out, overwrite=True)
    export("mmseg", source, out)
    assert (out / "img_dir").is_dir() and not (out / "JPEGImages").exists()


def test_a_stopped_export_is_not_taken_for_one(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    whole = Source.samples

    def stopped(self: Source) -> Iterator[Any]:
        for number, sample in enumerate(whole(self)):
            if number == 2:
                raise KeyboardInterrupt
            yield sample

    monkeypatch.setattr(Source, "samples", stopped)
    with pytest.raises(KeyboardInterrupt):
        export("voc", source, out)
    assert not out.exists()
    assert len(list((tmp_path / "out.partial/JPEGImages").iterdir())) == 2
    monkeypatch.undo()
    export("voc", source, out)
    assert len(list((out / "JPEGImages").iterdir())) == 5
    assert not (tmp_path / "out.partial").exists()


def test_a_partial_folder_of_the_users_is_not_removed(source: Source, tmp_path: Path) -> None:
    mine = tmp_path / "out.partial"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"out\.partial: .* was not left by a stopped export"):
        check_out(tmp_path / "out", overwrite=True)
    with pytest.raises(FileExistsError):
        export("voc", source, tmp_path / "out")
    assert (mine / "thesis.tex").read_text() == "years of work"


def test_the_old_export_is_there_until_the_new_one_is(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    export("voc", source, out)
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self.name == "out.partial":
            raise OSError("no space")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OSError, match="no space"):
        export("mmseg", source, out)
    assert (out / "JPEGImages").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.partial", "root"]
    monkeypatch.undo()
    check_out(out, overwrite=True)
    export("mmseg", source, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "root"]


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


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tasks.export", *arguments]
    env = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)


def test_the_command(source: Source) -> None:
    done = run(source.root, "voc", "out", "--split", "val", "--include-rejected")
    assert done.returncode == 0, done.stderr
    assert "out: 1 rejected, 1 val" in done.stderr
    assert read_json(source.root / "out/manifest.json")["samples"] == {"rejected": 1, "val": 1}
    again = run(source.root, "voc", "out", "--masks", "label")
    assert again.returncode == 1
    assert again.stderr.splitlines()[-1].startswith("out: exists and is no empty folder")
    replaced = run(source.root, "coco", "out", "--masks", "label", "--overwrite")
    assert replaced.returncode == 0, replaced.stderr
    assert json.loads((source.root / "out/manifest.json").read_text())["maps"] == ["label"]
    assert not (source.root / "out/reliability").exists()


def test_a_foreign_manifest_makes_no_export(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"format": "voc"})
    with pytest.raises(InputError, match="it is no export"):
        check_out(tmp_path, overwrite=True)


def test_a_stages_output_is_no_place_for_an_export(tmp_path: Path) -> None:
    out = {"path": "data/dataset", "md5": "0.dir", "size": 1, "nfiles": 1}
    lock = {"schema": "2.0", "stages": {"filter_masks": {"cmd": "true", "outs": [out]}}}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
    for inside in ("data/dataset", "data/dataset/voc", "other/../data/dataset/voc"):
        with pytest.raises(InputError, match="lies in data/dataset, which filter_masks writes"):
            check_out(tmp_path / inside, overwrite=False, root=tmp_path)
    check_out(tmp_path / "data/exported", overwrite=False, root=tmp_path)


def test_the_folder_one_stands_in_is_not_replaced(source: Source) -> None:
    for out in (".", "data/.."):
        done = run(source.root, "voc", out, "--overwrite")
        assert done.returncode == 1
        assert "is not replaced, as it is no export" in done.stderr.splitlines()[-1]
