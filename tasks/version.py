"""The project's version, for ``--version``: the code runs from its folder and is not installed."""

import tomllib
from pathlib import Path


def project_version() -> str:
    """What ``pyproject.toml`` names."""
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(text)["project"]["version"])
