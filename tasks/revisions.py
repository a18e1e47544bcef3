"""The pipeline's state at a revision: its ``dvc.lock``, and its outputs' bytes.

A revision is a git commit, by any of its names, a DVC experiment, by its name, or ``workspace``,
what lies here now. Nothing is checked out: outputs of a commit are read where DVC's cache keeps
them. Imports no torch, and DVC only for its settings.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from tasks.checksums import file_md5
from tasks.git import ask_git
from tasks.params import InputError

WORKSPACE = "workspace"
LOCK = "dvc.lock"
PARAMS = "params.yaml"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # faster, where it was built


@dataclass(frozen=True)
class Artifact:
    """A file or folder in ``dvc.lock``: an output of a stage, or what a stage depends on.

    Attributes:
        path: from the repository root.
        md5: of its bytes; of a folder, of the list of its files, ending in ``.dir``.
        size: bytes.
        files: how many, of a folder.
    """

    path: str
    md5: str
    size: int
    files: int | None

    def holds(self, path: str) -> bool:
        """Whether ``path`` is this file or lies in this folder."""
        return path == self.path or path.startswith(f"{self.path}/")


class Revision:
    """The pipeline's state at a revision.

    Args:
        name: of the revision, for messages.
        commit: its 40 digits; None is the workspace.
        root: the repository.
    """

    def __init__(self, name: str, commit: str | None, root: Path) -> None:
        self.name, self.commit, self.root = name, commit, root

    @cached_property
    def stages(self) -> dict[str, dict[str, Any]]:
        """Stage -> its entry in ``dvc.lock``.

        Raises:
            InputError: this revision has no ``dvc.lock``, or one that is damaged.
        """
        text = self.text(LOCK)
        if text is None:
            raise InputError(
                f"{self.name}: no {LOCK} there, so nothing tells what was made; run `dvc repro` "
                f"and commit {LOCK}"
            )
        try:
            stages = yaml.load(text, _LOADER)["stages"]
        except (yaml.YAMLError, TypeError, KeyError) as error:
            raise InputError(
                f"{self.name}: its {LOCK} cannot be read ({type(error).__name__}); "
                f"`git checkout {LOCK}` restores the committed one"
            ) from None
        return dict(stages)

    @property
    def locked_stages(self) -> list[str]:
        """The stages in ``dvc.lock``; none where there is no such file: nothing ran by DVC."""
        return list(self.stages) if self.text(LOCK) is not None else []

    @cached_property
    def outs(self) -> dict[str, Artifact]:
        """Path -> output, of all stages."""
        return {out.path: out for stage in self.stages for out in self.outs_of(stage)}

    @cached_property
    def maker(self) -> dict[str, str]:
        """Path of an output -> the stage that made it."""
        return {out.path: stage for stage in self.stages for out in self.outs_of(stage)}

    def outs_of(self, stage: str) -> list[Artifact]:
        """A stage's outputs, metrics and plots."""
        return [_artifact(entry) for entry in self.stages[stage].get("outs", [])]

    def deps_of(self, stage: str) -> list[Artifact]:
        """What a stage was made from."""
        return [_artifact(entry) for entry in self.stages[stage].get("deps", [])]

    def owner(self, path: str) -> Artifact | None:
        """The output that is ``path`` or holds it."""
        return next((out for out in self.outs.values() if out.holds(path)), None)

    def params(self, stage: str) -> dict[str, Any]:
        """The parameters that a stage was made with, by section; all that it declares."""
        found: dict[str, Any] = {}
        for key, value in self.stages.get(stage, {}).get("params", {}).get(PARAMS, {}).items():
            *path, last = key.split(".")
            place = found
            for part in path:
                place = place.setdefault(part, {})
            place[last] = value
        return found

    def section(self, stage: str) -> dict[str, Any]:
        """The section of a stage's own name, as the stage was made with it."""
        return dict(self.params(stage).get(stage) or {})

    def text(self, path: str) -> str | None:
        """A file that git keeps, or, in the workspace, any file; None where there is none."""
        if self.commit is None:
            file = self.root / path
            return file.read_text(encoding="utf-8") if file.is_file() else None
        return ask_git(["show", f"{self.commit}:./{path}"], self.root)

    def json(self, path: str) -> Any:
        """A JSON file as `text` or the cache has it; None where neither does."""
        text = self.text(path)
        if text is None:
            found = self.find(path)
            text = found.read_text(encoding="utf-8") if found else None
        return None if text is None else json.loads(text)

    def dependency(self, stage: str, path: str) -> Any:
        """A JSON file that a stage was made from, the very one; None where it is gone.

        The one here may be newer than the stage. Git and the cache keep no record of preflight's.
        """
        dep = next((one for one in self.deps_of(stage) if one.path == path), None)
        if dep is None:
            return None
        for file in (self.root / path, self.cached(dep.md5)):
            if file.is_file() and file_md5(file) == dep.md5:
                return json.loads(file.read_text(encoding="utf-8"))
        return None

    def file(self, path: str) -> Path:
        """Where the bytes of ``path``, an output or a file in one, lie on this machine.

        Raises:
            InputError: they do not; the message says how to get them.
        """
        found = self.find(path)
        if found is None:
            if self.owner(path) is None:
                raise InputError(
                    f"{self.name}: no stage made {path}; run `dvc repro`, or name another revision"
                )
            if self.commit is None:
                remedy, otherwise = "dvc pull", "`dvc repro` makes it again"
            else:  # `dvc repro` would make what the workspace's parameters say
                remedy = "dvc fetch --all-commits"
                otherwise = "name a run of `python -m flows.versions list`"
            raise InputError(
                f"{self.name}: {path} is not on this machine; `{remedy}` brings it if a remote "
                f"keeps it, else {otherwise}"
            )
        return found

    def find(self, path: str) -> Path | None:
        """As `file`, but None where they do not lie here."""
        if self.commit is None:
            here = self.root / path
            return here if here.exists() else None
        out = self.owner(path)
        if out is None:
            return None
        md5 = out.md5 if out.path == path else self.members(out).get(path[len(out.path) + 1 :])
        found = self.cached(md5) if md5 else None
        return found if found and found.exists() else None

    def members(self, out: Artifact) -> dict[str, str]:
        """Name in a folder -> MD5, from the list in DVC's cache; empty where it is not there."""
        found = self.cached(out.md5)
        if not found.exists():
            return {}
        entries = json.loads(found.read_text(encoding="utf-8"))
        return {entry["relpath"]: entry["md5"] for entry in entries}

    def cached(self, md5: str) -> Path:
        """Where DVC's cache keeps the contents of this MD5, if it does."""
        return cache_folder(self.root) / "files/md5" / md5[:2] / md5[2:]


def open_revision(name: str, root: Path = Path()) -> Revision:
    """A revision by its name.

    Raises:
        InputError: neither git nor DVC knows it.
    """
    if name == WORKSPACE:
        return Revision(name, None, root)
    commit = ask_git(["rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"], root)
    if commit is None:
        listed = ask_git(["for-each-ref", "--format=%(objectname) %(refname)", "refs/exps"], root)
        refs = [line.split(" ", 1) for line in (listed or "").splitlines()]
        found = [commit for commit, ref in refs if ref.rpartition("/")[2] == name]
        if not found:
            raise InputError(
                f"{name!r} is no revision: give a commit, branch or tag of git, an experiment of "
                f"`dvc exp list`, or {WORKSPACE}"
            )
        commit = found[0]
    return Revision(name, commit.strip(), root)


def recorded_at(lock: Revision, paths: list[str]) -> dict[str, str] | None:
    """The first commit whose ``dvc.lock`` holds these outputs as the revision has them.

    Returns:
        ``commit``, ``date`` (ISO 8601) and ``subject``; None where no commit holds them.
    """
    wanted = {path: lock.outs[path].md5 for path in paths if path in lock.outs}
    if not wanted:
        return None
    pattern = "|".join(wanted.values()).replace(".", "[.]")
    options = ["--reverse", "--format=%H%x09%cI%x09%s", "--extended-regexp", f"-G{pattern}"]
    listed = ask_git(["log", *options, "--", LOCK], lock.root)
    for line in (listed or "").splitlines():
        commit, date, subject = line.split("\t", 2)
        there = Revision(commit, commit, lock.root)
        if there.text(LOCK) is None:
            continue
        if all(path in there.outs and there.outs[path].md5 == wanted[path] for path in wanted):
            return {"commit": commit, "date": date, "subject": subject}
    return None


def history(root: Path = Path()) -> Iterator[Revision]:
    """The workspace, then every commit of any branch that changed ``dvc.lock``, latest first."""
    if (root / LOCK).exists():
        yield Revision(WORKSPACE, None, root)
    listed = ask_git(["log", "--all", "--format=%H", "--", LOCK], root)
    for commit in (listed or "").split():
        if ask_git(["cat-file", "-e", f"{commit}:./{LOCK}"], root) is not None:
            yield Revision(commit[:12], commit, root)


def cache_folder(root: Path) -> Path:
    """DVC's cache, by default ``.dvc/cache``, as its settings at all levels say."""
    from dvc.config import Config  # a quarter of a second

    configured = Config(str((root / ".dvc").absolute()))["cache"].get("dir")
    return Path(configured) if configured else root / ".dvc/cache"


def _artifact(entry: dict[str, Any]) -> Artifact:
    return Artifact(entry["path"], entry["md5"], entry.get("size", 0), entry.get("nfiles"))
