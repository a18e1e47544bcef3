"""Versions with real git and real DVC."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.versions import find, keep, restore, show, versions
from tasks.params import InputError

RUN = "0f4c6880-00cd-4b2c-b5c0-012ec2c0d8d8"
LATER = "2026-01-02T03:04:05+00:00"


def git(folder: Path, *command: str) -> str:
    answer = subprocess.run(
        ["git", *command], cwd=folder, check=True, capture_output=True, text=True
    )
    return answer.stdout.strip()


def dvc(folder: Path, *command: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-m", "dvc", *command],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    return answer.stdout


def test_a_run_is_kept_beside_uncommitted_work(toy: Path) -> None:
    dvc(toy, "repro", "--quiet")
    (toy / "first.py").write_text("# half done\n")
    (toy / "staged.txt").write_text("staged")
    (toy / "notes.txt").write_text("mine")
    git(toy, "add", "staged.txt")
    before = git(toy, "status", "--porcelain"), git(toy, "log", "--all", "--format=%H")
    branch = git(toy, "symbolic-ref", "HEAD")

    assert keep(RUN, LATER, toy) == "run-20260102-030405-0f4c6880"
    assert git(toy, "status", "--porcelain") == before[0]
    assert git(toy, "symbolic-ref", "HEAD") == branch
    assert git(toy, "log", "--branches", "--format=%H") == before[1]
    (version,) = versions(toy)
    assert find(RUN, toy) == find(version.name, toy) == version
    assert git(toy, "show", f"{version.commit}:first.py") == "# half done"
    kept = git(toy, "ls-tree", "-r", "--name-only", version.commit).splitlines()
    assert {"dvc.lock", "staged.txt", "second.py"} <= set(kept)
    assert not {"notes.txt", "a.txt"} & set(kept)  # not named by the graph; in DVC's cache
    assert RUN in git(toy, "show", "--no-patch", "--format=%B", version.commit)


def test_without_versions_it_is_told_how_one_comes_to_be(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(toy)
    show()
    told = "No versions yet: every successful `python -m flows.synthesize` keeps one.\n"
    assert capsys.readouterr().out == told


def test_what_the_graph_writes_past_the_cache_is_kept_though_ignored(toy: Path) -> None:
    pipeline = (
        (toy / "dvc.yaml")
        .read_text()
        .replace("[b.txt]\n  third", "[b.txt: {cache: false}]\n  third")
    )
    (toy / "dvc.yaml").write_text(pipeline)
    (toy / ".gitignore").write_text("b.txt\n")
    dvc(toy, "repro", "--quiet")
    keep(RUN, LATER, toy)
    assert git(toy, "show", f"{versions(toy)[0].commit}:b.txt") == "b"


def test_without_git_or_commit_nothing_is_kept(tmp_path: Path) -> None:
    assert keep(RUN, LATER, tmp_path) is None
    with pytest.raises(InputError, match="is no repository of git, which keeps the versions; run"):
        versions(tmp_path)
    git(tmp_path, "init", "--quiet")
    assert versions(tmp_path) == []
    assert keep(RUN, LATER, tmp_path) is None


def test_an_old_run_is_restored_into_a_new_folder(
    toy: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    dvc(toy, "repro", "--quiet")
    keep(RUN, LATER, toy)
    (toy / "second.py").write_text('open("b.txt", "w").write("new")')
    dvc(toy, "repro", "--quiet")
    keep("11111111-0", "2026-01-03T03:04:05+00:00", toy)
    assert [version.name[-8:] for version in versions(toy)] == ["11111111", "0f4c6880"]

    folder = tmp_path_factory.mktemp("old") / "last-week"
    restore(RUN, folder, toy)
    assert (folder / "c.txt").read_text() == "b"
    assert (toy / "c.txt").read_text() == "new"
    assert "up to date" in dvc(folder, "status")

    with pytest.raises(InputError, match="is not empty"):
        restore(RUN, folder, toy)
    with pytest.raises(InputError, match=r"'night' is no version; the latest: run-20260103"):
        find("night", toy)


def test_dvc_knows_versions_as_experiments_and_keeps_their_data(
    toy: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    dvc(toy, "repro", "--quiet")
    name = keep(RUN, LATER, toy)
    assert name is not None
    (toy / "second.py").write_text('open("b.txt", "w").write("new")')
    dvc(toy, "repro", "--quiet")
    assert name in dvc(toy, "exp", "list", "--name-only")
    assert name in dvc(toy, "exp", "show", "--csv")
    dvc(toy, "gc", "--workspace", "--all-experiments", "--force")
    restore(name, tmp_path_factory.mktemp("old") / "kept", toy)
    dvc(toy, "gc", "--workspace", "--force")
    gone = tmp_path_factory.mktemp("old") / "gone"
    with pytest.raises(InputError, match=r"the DVC cache lacks some of its data; fetch it"):
        restore(name, gone, toy)
    dvc(toy, "exp", "remove", name)
    assert versions(toy) == []
