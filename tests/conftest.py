"""What tests of several folders need: toys, and this repository as a fresh clone would have it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytest_plugins = [
    f"tests.toys.{name}"
    for name in (
        "datasets", "masks", "models", "parameters", "sampling", "training", "trees", "runs",
        "adaptation", "attention", "inputs", "reports",
    )
]  # fmt: skip


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a repository of the files that git tracks or would track, as they are now."""

    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name) / "maskloom"
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        output = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout
        for path in filter(None, output.decode().split("\0")):
            source, target = ROOT / path, folder / path
            if source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
        author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        for command in (["init", "-q"], ["add", "--all"], [*author, "commit", "-qm", "all"]):
            subprocess.run(["git", *command], cwd=folder, check=True)
        return folder

    return make


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment for commands in a clone: this interpreter, and a Prefect home of its own."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    home = tmp_path_factory.mktemp("prefect")
    mine = {**os.environ, "PATH": path, "PREFECT_HOME": str(home)}
    for name in ("PREFECT_API_URL", "PYTHONPATH"):  # an import must find the clone's modules
        mine.pop(name, None)
    return mine
