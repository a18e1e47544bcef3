"""Versions: what every successful run of the flow made, to list, compare and restore.

A version is a commit on the commit that was checked out: tracked files as they are, with what DVC's
graph names and git does not track yet. It is built beside the repository's index, so branch, index
and uncommitted work stay untouched. Its ref is that of a DVC experiment: DVC's own commands show,
compare, push and remove it, and ``dvc gc --all-experiments`` keeps its data. ``dvc exp save`` makes
the same with HEAD moved away in between: afterwards nothing is staged any more, and a kill leaves
HEAD where it does not belong.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from flows.graph import named_files
from flows.results import EVALUATION
from tasks.entry import run_tool
from tasks.git import ask_git, git
from tasks.params import InputError
from tasks.revisions import Revision
from tasks.version import project_version

PREFIX = "run-"
_IDENTITY = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "Maskloom"), ("EMAIL", "maskloom@localhost"))
}
"""Who commits where git knows no name."""


@dataclass(frozen=True)
class Version:
    """A kept run.

    Attributes:
        name: "run-<date>-<time>-<start of the run's id>".
        commit: its full hash.
        base: the commit that was checked out, shortened.
        kept: when, ISO 8601.
        dataset: digest of ``data/dataset``, shortened; None where there is none.
        miou: of the network, 0..1; None where it was not measured.
    """

    name: str
    commit: str
    base: str
    kept: str
    dataset: str | None
    miou: float | None


def keep(run_id: str, ended: str, root: Path = Path()) -> str | None:
    """Keep the repository as it is now as a version of run ``run_id``.

    Args:
        run_id: of Prefect.
        ended: local time, ISO 8601.

    Returns:
        The version's name; None outside of git or before the first commit.
    """
    head = ask_git(["rev-parse", "--verify", "--quiet", "HEAD"], root)
    if head is None:
        return None
    base = head.strip()
    digits = "".join(filter(str.isdigit, ended.partition("+")[0]))
    name = f"{PREFIX}{digits[:8]}-{digits[8:14]}-{run_id[:8]}"
    message = f"Run {run_id} of the flow\n\nEnded {ended}."
    identity = {} if _knows_committer(root) else _IDENTITY
    commit = git(["commit-tree", _tree(root), "-p", base, "-m", message], root, identity).strip()
    git(["update-ref", f"refs/exps/{base[:2]}/{base[2:]}/{name}", commit], root)
    return name


def _tree(root: Path) -> str:
    """The hash of a tree: tracked files as they are now, and those that DVC's graph names."""
    index = root / git(["rev-parse", "--git-path", "index"], root).strip()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "index")
        if index.exists():
            shutil.copy2(index, copy)  # with it what git knows of unchanged files
        env = {"GIT_INDEX_FILE": str(copy)}
        git(["add", "--update", "."], root, env)
        sources, results = named_files(root)
        new = ["ls-files", "-z", "--others", "--exclude-standard", "--", *sources]
        untracked = [path for path in git(new, root, env).split("\0") if path]
        for path in (*untracked, *results):
            if (root / path).exists():
                git(["add", "--force", "--", path], root, env)
        return git(["write-tree"], root, env).strip()


def versions(root: Path = Path()) -> list[Version]:
    """All kept versions, the latest first.

    Raises:
        InputError: this is no repository of git, which keeps them.
    """
    form = "%(refname:lstrip=4)%09%(objectname)%09%(parent)%09%(committerdate:iso-strict)"
    listed = ask_git(
        ["for-each-ref", "--sort=-refname:lstrip=4", f"--format={form}", "refs/exps"], root
    )
    if listed is None:
        raise InputError(
            f"{root.resolve()}: is no repository of git, which keeps the versions; run this where "
            "the flow ran, in a clone of the project"
        )
    rows = [line.split("\t") for line in listed.splitlines()]
    found = [row for row in rows if row[0].startswith(PREFIX)]
    return sorted(
        (
            Version(name, commit, parent[:7], kept, *_told(commit, root))
            for name, commit, parent, kept in found
        ),
        key=lambda version: version.name,
        reverse=True,
    )


def _told(commit: str, root: Path) -> tuple[str | None, float | None]:
    """Digest of the dataset and mIoU at a commit."""
    there = Revision(commit, commit, root)
    dataset = there.outs.get("data/dataset") if there.locked_stages else None
    evaluation = there.text(EVALUATION.as_posix())
    miou = json.loads(evaluation)["miou"] if evaluation else None
    return dataset.md5[:8] if dataset else None, miou


def find(name: str, root: Path = Path()) -> Version:
    """The version of this name, or of the run id that begins so.

    Raises:
        InputError: there is none, or several.
    """
    kept = versions(root)
    found = [v for v in kept if v.name == name or (name and v.name.split("-")[-1] == name[:8])]
    if len(found) != 1:
        known = ", ".join(version.name for version in kept[:3]) or "none yet"
        what = "no version" if not found else "more than one version"
        raise InputError(f"{name!r} is {what}; the latest: {known} (python -m flows.versions list)")
    return found[0]


def restore(name: str, folder: Path, root: Path = Path()) -> Version:
    """Check a version out into a new folder, its data linked from this repository's DVC cache.

    Raises:
        InputError: there is no such version, the folder is not empty, or the cache lacks its data.
    """
    version = find(name, root)
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: is not empty; name a new folder for {version.name}")
    git(["worktree", "add", "--quiet", "--detach", os.path.abspath(folder), version.commit], root)
    cache = _dvc(root, "cache", "dir").stdout.strip()
    _dvc(folder, "cache", "dir", "--local", cache)
    linked = _dvc(folder, "checkout", "--force", check=False)
    if linked.returncode:
        raise InputError(
            f"{folder}: the code and parameters of {version.name} are there, but the DVC cache "
            f"lacks some of its data; fetch it with `dvc pull` there, or make it with `dvc repro`\n"
            f"{linked.stderr.strip()}"
        )
    return version


def _knows_committer(root: Path) -> bool:
    asked = ["-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT"]
    return ask_git(asked, root) is not None


def _dvc(root: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *command],
        cwd=root,
        capture_output=True,
        text=True,
        check=check,
    )


app = cyclopts.App(
    name="python -m flows.versions",
    help="Versions that runs of the flow have left.",
    version=project_version,
)


@app.command(name="list")
def show() -> None:
    """List them, the latest first."""
    kept = versions()
    if not kept:
        print("No versions yet: every successful `python -m flows.synthesize` keeps one.")
        return
    table = Table("version", "on commit", "dataset", "mIoU")
    for version in kept:
        miou = "-" if version.miou is None else f"{version.miou:.3f}"
        table.add_row(version.name, version.base, version.dataset or "-", miou)
    Console().print(table)


@app.command(name="restore")
def restore_command(
    version: Annotated[str, Parameter(help="its name, or the id of the run")],
    folder: Annotated[Path, Parameter(help="a new folder")],
    /,
) -> None:
    """Check one out into a new folder, with its data; this folder stays as it is."""
    restored = restore(version, folder)
    Console().print(f"{restored.name} is in {folder}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    run_tool(app)
