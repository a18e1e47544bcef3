"""git, as it is called from here."""

import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

ELSEWHERE = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
)
"""With these, as a hook of git hands them on, git works in another repository than its folder's."""


def git(arguments: list[str], root: Path, env: Mapping[str, str] | None = None) -> str:
    """What git prints of the repository that ``root`` lies in, whichever called this process.

    Args:
        arguments: the command and its arguments.
        root: the folder that it runs in.
        env: variables beside those of this process.

    Raises:
        subprocess.CalledProcessError: it fails; what it says is ``stderr``.
        FileNotFoundError: there is no git.
    """
    inherited = {key: value for key, value in os.environ.items() if key not in ELSEWHERE}
    command, env = ["git", *arguments], {**inherited, **(env or {})}
    answer = subprocess.run(command, cwd=root, env=env, capture_output=True, check=False)
    # Decoded here, since text=True would change the ends of lines, too.
    said, error = (each.decode("utf-8", "replace") for each in (answer.stdout, answer.stderr))
    if answer.returncode:
        raise subprocess.CalledProcessError(answer.returncode, command, said, error)
    return said


def ask_git(arguments: list[str], root: Path) -> str | None:
    """What git prints; None where it fails, or where there is no git."""
    try:
        return git(arguments, root)
    except (subprocess.CalledProcessError, FileNotFoundError):
        return None


def uncommitted(root: Path, paths: Iterable[str] = (), *, untracked: bool = True) -> list[str]:
    """What differs from the commit, a line each as ``git status --porcelain`` tells it.

    Args:
        paths: files and folders that are looked at, from ``root``; none: all.
        untracked: whether files that git does not know, nor ignores, count.
    """
    files = f"--untracked-files={'all' if untracked else 'no'}"
    return git(["status", "--porcelain", files, "--", *paths], root).splitlines()
