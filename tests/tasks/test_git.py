import subprocess
from pathlib import Path

import pytest

from tasks.git import ask_git, git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(["init", "--quiet"], tmp_path)
    return tmp_path


def test_what_git_prints(repository: Path) -> None:
    assert git(["rev-parse", "--show-prefix"], repository) == "\n"
    assert ask_git(["ls-files"], repository) == ""


def test_variables_come_beside_those_of_the_process(repository: Path) -> None:
    named = {"GIT_AUTHOR_NAME": "Ärin", "GIT_AUTHOR_EMAIL": "a@b"}
    assert git(["var", "GIT_AUTHOR_IDENT"], repository, named).startswith("Ärin <a@b>")


def test_the_folder_tells_the_repository(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("other")
    git(["init", "--quiet"], other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    folder = git(["rev-parse", "--absolute-git-dir"], repository).strip()
    assert Path(folder) == repository.resolve() / ".git"


def test_a_failure_is_raised_or_nothing(repository: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        git(["rev-parse", "--verify", "HEAD"], repository)
    assert caught.value.stderr == "fatal: Needed a single revision\n"
    assert ask_git(["rev-parse", "--verify", "HEAD"], repository) is None


def test_without_git_nothing_is_told(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask_git(["ls-files"], repository) is None
