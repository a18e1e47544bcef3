"""Clones for the runs of a grid: what they share with the repository, and what they do not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from flows.workspaces import prepare_clone
from tasks.git import git


def test_a_clone_shares_the_cache_and_finished_shards_and_leaves_them(toy: Path) -> None:
    shard = toy / ".maskloom/store/sample_images/shard.tar"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"finished")
    clone = toy / ".maskloom/compare/workspace-0"
    commit = git(["rev-parse", "HEAD"], toy).strip()
    for _ in range(2):  # made, then met again
        prepare_clone(toy, clone, commit)
    assert git(["rev-parse", "HEAD"], clone).strip() == commit
    assert Path(Repo(clone).cache.local.path) == toy / ".dvc/cache/files/md5"
    assert (clone / shard.relative_to(toy)).read_bytes() == b"finished"
    shutil.rmtree(clone)
    assert shard.read_bytes() == b"finished"


@pytest.mark.parametrize("absolute", [True, False])
def test_a_clone_shares_a_cache_that_lies_elsewhere(toy: Path, absolute: bool) -> None:
    cache = toy.parent / f"{toy.name}-cache"
    asked = str(cache) if absolute else f"../{cache.name}"
    command = [sys.executable, "-m", "dvc", "cache", "dir", "--local", asked]
    subprocess.run(command, cwd=toy, check=True)
    clone = toy / ".maskloom/compare/workspace-0"
    prepare_clone(toy, clone, git(["rev-parse", "HEAD"], toy).strip())
    assert Path(Repo(clone).cache.local.path) == cache / "files/md5"


def test_a_clone_takes_the_commit_that_it_is_asked_for(toy: Path) -> None:
    clone = toy / "clone"
    first = git(["rev-parse", "HEAD"], toy).strip()
    prepare_clone(toy, clone, first)
    (toy / "first.py").write_text("changed")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *author, "commit", "-qam", "more"], cwd=toy, check=True)
    (clone / "first.py").write_text("edited in the clone")
    prepare_clone(toy, clone, git(["rev-parse", "HEAD"], toy).strip())
    assert (clone / "first.py").read_text() == "changed"


@pytest.mark.parametrize("damage", [".git/HEAD", ".git"])
def test_a_damaged_clone_is_made_anew_and_the_users_tree_left_alone(
    toy: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone, commit = toy / ".maskloom/compare/workspace-0", git(["rev-parse", "HEAD"], toy).strip()
    prepare_clone(toy, clone, commit)
    (clone / damage).rename(toy / "gone")
    (toy / "first.py").write_text("not committed")
    branch = git(["symbolic-ref", "HEAD"], toy)
    monkeypatch.setenv("GIT_DIR", str(toy / ".git"))  # as in a hook of the user's repository
    prepare_clone(toy, clone, commit)
    assert (toy / "first.py").read_text() == "not committed"
    assert git(["symbolic-ref", "HEAD"], toy) == branch
    assert (clone / ".git/HEAD").read_text().strip() == commit
