"""A repository with a pipeline of three tiny stages, and a Prefect database of the tests' own."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.testing.utilities import prefect_test_harness

ROOT = Path(__file__).parents[2]

PIPELINE = """
stages:
  first:
    cmd: python first.py
    deps: [first.py]
    outs: [a.txt]
  second:
    cmd: python second.py
    deps: [a.txt, second.py]
    outs: [b.txt]
  third:
    cmd: cp b.txt c.txt
    deps: [b.txt]
    outs: [c.txt]
"""
FIRST = """
import sys
print("12:00:00 making a", file=sys.stderr)
open("a.txt", "w").write("a")
"""
SECOND = """
open("b.txt", "w").write("b")
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """The repository, committed, with this project's settings of DVC and Prefect."""
    (tmp_path / ".dvc").mkdir()
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "first.py").write_text(FIRST)
    (tmp_path / "second.py").write_text(SECOND)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "-qm", "toy"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server with an empty database, for all tests that need one."""
    with prefect_test_harness(server_startup_timeout=120):
        yield
