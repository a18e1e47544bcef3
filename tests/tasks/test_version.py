"""What ``--version`` tells, of every tool alike."""

import tomllib
from pathlib import Path

import pytest

from tasks.predict import app

ROOT = Path(__file__).parents[2]


def test_a_tools_version_is_the_projects(capsys: pytest.CaptureFixture[str]) -> None:
    app("--version", result_action="return_value")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert capsys.readouterr().out == f"{project['version']}\n"


def test_every_command_line_names_it() -> None:
    files = [path for room in ("tasks", "flows") for path in (ROOT / room).glob("*.py")]
    made = [path for path in files if "cyclopts.App(" in path.read_text(encoding="utf-8")]
    assert len(made) > 10
    for path in made:
        assert "version=project_version" in path.read_text(encoding="utf-8"), path.name
