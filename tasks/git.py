"""git, as it is called from here."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path


def git(arguments: list[str], root: Path, env: Mapping[str, str] | None = None) -> str:
    """What git prints.

    Args:
        arguments: the command and its arguments.
        root: the folder that it runs in.
        env: variables beside those of this process.

    Raises:
        subprocess.CalledProcessError: it fails.
        FileNotFoundError: there is no git.
    """
    answer = subprocess.run(
        ["git", *arguments],
        cwd=root,
        env={**os.environ, **(env or {})},
        capture_output=True,
        check=True,
    )
    return answer.stdout.decode("utf-8", "replace")


def ask_git(arguments: list[str], root: Path) -> str | None:
    """What git prints; None where it fails, or where there is no git."""
    try:
        return git(arguments, root)
    except (subprocess.CalledProcessError, FileNotFoundError):
        return None
