"""An export is whole or not there, and replaces no work of the user's."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.export import check_out, export
from tasks.exporters.source import Source
from tasks.params import InputError
from tasks.records import read_json, write_json

ROOT = Path(__file__).parents[2]


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


def test_a_refused_export_leaves_nothing(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_self: Source) -> Iterator[Any]:
        raise InputError("--masks: sample 0042 has no uncertainty map")

    monkeypatch.setattr(Source, "samples", refused)
    with pytest.raises(InputError, match="no uncertainty map"):
        export("voc", source, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


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
