"""What docs/dvc.md promises of remotes, with a local one, and of experiments."""

import json
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


INPUTS = """
stages:
  preflight:
    cmd: cp first.py inputs.json
    deps: [first.py]
    outs:
      - inputs.json:
          cache: false
  second:
    cmd: python second.py
    deps: [inputs.json, second.py]
    outs: [b.txt]
"""


@pytest.mark.slow
def test_a_clone_pulls_and_has_nothing_to_compute_after_preflight(
    toy: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What preflight says of the inputs is neither in git nor in the cache, as in this pipeline."""
    (toy / "dvc.yaml").write_text(INPUTS)
    (toy / ".gitignore").write_text("/inputs.json\n/b.txt\n")
    dvc(toy, "repro", "--quiet")
    backup, clone = tmp_path_factory.mktemp("backup"), tmp_path_factory.mktemp("clone") / "toy"
    dvc(toy, "remote", "add", "--default", "backup", str(backup))
    dvc(toy, "push")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["add", "."], [*author, "commit", "-qm", "made"], ["clone", ".", str(clone)]):
        subprocess.run(["git", *command], cwd=toy, check=True)
    dvc(clone, "pull")
    assert (clone / "b.txt").read_text() == "b"
    assert "inputs.json" in dvc(clone, "status")
    assert "second" not in dvc(clone, "repro", "preflight")
    assert "up to date" in dvc(clone, "status")


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


COUNTED = """
stages:
  count:
    cmd: grep -o '[0-9]' params.yaml > metrics.json
    deps: [first.py]
    params: [count.to]
    metrics:
      - metrics.json:
          cache: false
  second:
    cmd: python second.py
    deps: [first.py, second.py]
    outs: [b.txt]
"""


@pytest.mark.slow
def test_an_experiment_runs_what_its_parameter_touches_and_is_shown(toy: Path) -> None:
    (toy / "dvc.yaml").write_text(COUNTED)
    (toy / "params.yaml").write_text("count:\n  to: 3\n")
    (toy / ".gitignore").write_text("/b.txt\n")
    dvc(toy, "repro", "--quiet")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["add", "."], [*author, "commit", "-qm", "made"]):
        subprocess.run(["git", *command], cwd=toy, check=True)
    told = dvc(toy, "exp", "run", "-n", "more", "-S", "count.to=7")
    assert "Running stage 'count'" in told and "Running stage 'second'" not in told
    assert (toy / "metrics.json").read_text() == "7\n"
    shown = json.loads(dvc(toy, "exp", "show", "--json"))
    (kept,) = [one for row in shown for group in row["experiments"] or () for one in group["revs"]]
    assert kept["name"] == "more"
    assert kept["data"]["params"]["params.yaml"]["data"] == {"count": {"to": 7}}
    assert "more" in dvc(toy, "exp", "show")
