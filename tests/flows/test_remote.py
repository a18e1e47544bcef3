"""What docs/dvc.md promises of remotes, with a local one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def dvc(folder: Path, *command: str) -> str:
    """DVC's output, with this interpreter for the stages."""
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(folder)}
    answer = subprocess.run(
        [sys.executable, "-m", "dvc", *command],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return answer.stdout


@pytest.mark.slow
def test_push_wipe_pull_and_nothing_to_compute(
    toy: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    dvc(toy, "repro", "--quiet")
    backup = tmp_path_factory.mktemp("backup")
    dvc(toy, "remote", "add", "--local", "--default", "backup", str(backup))
    dvc(toy, "push")
    shutil.rmtree(toy / ".dvc/cache")
    for name in ("a.txt", "b.txt", "c.txt"):
        (toy / name).unlink()
    dvc(toy, "pull")
    assert (toy / "c.txt").read_text() == "b"
    assert "up to date" in dvc(toy, "status")
    assert "Running stage" not in dvc(toy, "repro")
