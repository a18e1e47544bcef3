import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.lineage_state import commit, record, start
from tasks.params import InputError
from tasks.revisions import WORKSPACE, Revision, cache_folder, history, open_revision, recorded_at


def test_an_output_of_a_commit_is_read_from_the_cache(lineage_root: Path) -> None:
    index = lineage_root / "data/dataset/index.parquet"
    before = index.read_bytes()
    index.write_bytes(b"other")
    assert open_revision("HEAD", lineage_root).file("data/dataset/index.parquet").read_bytes() == (
        before
    )
    assert open_revision(WORKSPACE, lineage_root).file("data/dataset/index.parquet") == index


def test_parameters_are_those_of_the_lock(lineage_root: Path) -> None:
    params = yaml.safe_load((lineage_root / "params.yaml").read_text())
    params["filter_masks"]["min_area"] = 0.77
    (lineage_root / "params.yaml").write_text(yaml.safe_dump(params))
    here = Revision(WORKSPACE, None, lineage_root)
    assert here.section("filter_masks")["min_area"] == 0.04
    assert here.params("sample_images")["adapt_lora"] == {"scale": 1.0}


def test_a_revision_has_any_name_that_git_gives_it(lineage_root: Path) -> None:
    whole = open_revision("HEAD", lineage_root).commit
    assert whole is not None and len(whole) == 40
    assert open_revision("main", lineage_root).commit == whole
    assert open_revision(whole[:8], lineage_root).commit == whole


def test_an_experiment_is_found_by_its_name(lineage_root: Path) -> None:
    whole = open_revision("HEAD", lineage_root).commit
    ref = f"refs/exps/ab/{'c' * 38}/fuzzy-cat"
    subprocess.run(["git", "update-ref", ref, "HEAD"], cwd=lineage_root, check=True)
    assert open_revision("fuzzy-cat", lineage_root).commit == whole
    with pytest.raises(InputError, match="'fuzzy' is no revision: give a commit, branch or tag"):
        open_revision("fuzzy", lineage_root)


def test_what_the_cache_lacks_is_told_with_the_remedy(lineage_root: Path) -> None:
    there = open_revision("HEAD", lineage_root)
    path = there.file("data/masks/index.parquet")
    path.unlink()
    with pytest.raises(InputError, match=r"HEAD: data/masks/index.parquet .* `dvc fetch --all"):
        there.file("data/masks/index.parquet")
    (lineage_root / "data/masks/index.parquet").unlink()
    here = Revision(WORKSPACE, None, lineage_root)
    with pytest.raises(InputError, match=r"workspace: data/masks/index.parquet .* `dvc pull` brin"):
        here.file("data/masks/index.parquet")
    with pytest.raises(InputError, match="no stage made data/nothing"):
        there.file("data/nothing")


def test_the_commit_that_holds_the_outputs(lineage_root: Path) -> None:
    paths = ["data/samples", "data/dataset"]
    first = open_revision("HEAD", lineage_root)
    commit(lineage_root, "nothing of it changed")
    here = Revision(WORKSPACE, None, lineage_root)
    found = recorded_at(here, paths)
    assert found is not None
    assert (found["commit"], found["subject"]) == (first.commit, "the first state")
    (lineage_root / "data/dataset/classes.json").write_text("[]")
    record(lineage_root)
    assert recorded_at(Revision(WORKSPACE, None, lineage_root), paths) is None
    commit(lineage_root, "the second state")
    found = recorded_at(Revision(WORKSPACE, None, lineage_root), paths)
    assert found is not None and found["subject"] == "the second state"


def test_history_is_the_workspace_then_every_commit_of_the_lock(lineage_root: Path) -> None:
    first = open_revision("HEAD", lineage_root)
    commit(lineage_root, "no other lock")
    found = list(history(lineage_root))
    assert [one.commit for one in found] == [None, first.commit]


def test_a_damaged_lock_is_one_message(lineage_root: Path) -> None:
    (lineage_root / "dvc.lock").write_text("stages: [")
    with pytest.raises(InputError, match=r"its dvc.lock cannot be read .* `git checkout dvc.lock`"):
        _ = Revision(WORKSPACE, None, lineage_root).stages
    (lineage_root / "dvc.lock").unlink()
    with pytest.raises(InputError, match=r"no dvc\.lock there"):
        _ = Revision(WORKSPACE, None, lineage_root).stages


def test_a_cache_elsewhere_is_found(tmp_path: Path) -> None:
    start(tmp_path)
    assert cache_folder(tmp_path) == tmp_path / ".dvc/cache"
    (tmp_path / ".dvc/config.local").write_text(f"[cache]\n    dir = {tmp_path / 'else'}\n")
    assert cache_folder(tmp_path) == tmp_path / "else"


def test_states_are_recorded_as_dvc_records_them(tmp_path: Path) -> None:
    """The same digests, sizes and cache as `dvc repro` leaves: what the tests here stand on."""
    start(tmp_path)
    stage = {
        "cmd": f"{sys.executable} make.py",
        "deps": ["make.py"],
        "params": ["filter_masks.min_area"],
        "outs": ["data/dataset", {"metrics/filter.json": {"cache": False}}],
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"filter_masks": stage}}))
    (tmp_path / "make.py").write_text(
        "import os\n"
        "for name in ('data/dataset/b', 'data/dataset/c/a', 'metrics/filter.json'):\n"
        "    os.makedirs(os.path.dirname(name), exist_ok=True)\n"
        "    open(name, 'w').write(name)\n"
    )
    env = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    repro = [sys.executable, "-m", "dvc", "repro", "--quiet"]
    subprocess.run(repro, cwd=tmp_path, env=env, check=True)
    by_dvc = yaml.safe_load((tmp_path / "dvc.lock").read_text())
    cached = {
        path.relative_to(tmp_path).as_posix(): path.read_bytes()
        for path in (tmp_path / ".dvc/cache").rglob("*")
        if path.is_file() and "runs" not in path.parts
    }
    subprocess.run(["rm", "-rf", ".dvc/cache", "dvc.lock"], cwd=tmp_path, check=True)
    record(tmp_path)
    by_us = yaml.safe_load((tmp_path / "dvc.lock").read_text())
    assert by_us == by_dvc
    assert {
        path.relative_to(tmp_path).as_posix(): path.read_bytes()
        for path in (tmp_path / ".dvc/cache").rglob("*")
        if path.is_file()
    } == cached
    there = Revision(WORKSPACE, None, tmp_path)
    assert json.dumps(there.members(there.outs["data/dataset"]))
