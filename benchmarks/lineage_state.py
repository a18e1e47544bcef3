"""A repository's state as DVC leaves it after `dvc repro`: ``dvc.lock``, the cache, a commit.

So that lineage can be measured and tested on states that nobody has to compute.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tasks.checksums import file_md5, folder_md5

ROOT = Path(__file__).parents[1]


def start(root: Path) -> None:
    """Make a git repository with this project's pipeline, parameters and DVC settings."""
    root.mkdir(parents=True, exist_ok=True)
    for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvc/config", ".dvc/.gitignore"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    _git(root, "init", "--quiet", "--initial-branch=main")


def record(root: Path) -> None:
    """Write ``dvc.lock`` for what lies there, and put outputs into the cache, as `dvc commit` does.

    Stages without outputs are left out; dependencies that are not there, too.
    """
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    lock = {}
    for name, stage in stages.items():
        outs = []
        for kind in ("outs", "metrics", "plots"):
            for entry in stage.get(kind, []):
                path, options = (
                    next(iter(entry.items())) if isinstance(entry, dict) else (entry, {})
                )
                if (root / path).exists():
                    outs.append(_entry(root, path, cached=options.get("cache", True)))
        if not outs:
            continue
        lock[name] = {
            "cmd": stage["cmd"],
            "deps": [_entry(root, path) for path in stage["deps"] if (root / path).exists()],
            "params": {
                "params.yaml": {key: _value(params, key) for key in stage.get("params", [])}
            },
            "outs": outs,
        }
    text = yaml.safe_dump({"schema": "2.0", "stages": lock}, sort_keys=False)
    (root / "dvc.lock").write_text(text, encoding="utf-8")


def commit(root: Path, message: str) -> str:
    """Commit all that git may see; returns the commit."""
    _git(root, "add", "--all")
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    _git(root, *author, "commit", "--quiet", "--allow-empty", "--message", message)
    return _git(root, "rev-parse", "HEAD")


def _entry(root: Path, path: str, cached: bool = False) -> dict[str, Any]:
    """A file's or folder's entry in ``dvc.lock``; its bytes go into the cache where that is due."""
    here = root / path
    if here.is_file():
        md5, size = file_md5(here), here.stat().st_size
        if cached:
            _keep(root, here, md5)
        return {"path": path, "hash": "md5", "md5": md5, "size": size}
    files = sorted(one for one in here.rglob("*") if one.is_file())
    members = {one.relative_to(here).as_posix(): file_md5(one) for one in files}
    if cached:
        for one in files:
            _keep(root, one, members[one.relative_to(here).as_posix()])
    md5 = folder_md5(members)
    if cached:
        entries = [{"md5": members[name], "relpath": name} for name in sorted(members)]
        listed = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text(json.dumps(entries), encoding="utf-8")
    size = sum(one.stat().st_size for one in files)
    return {"path": path, "hash": "md5", "md5": md5, "size": size, "nfiles": len(files)}


def _keep(root: Path, file: Path, md5: str) -> None:
    """A copy in the cache, of its own where the file will be changed."""
    kept = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, kept)


def _value(params: dict[str, Any], key: str) -> Any:
    value: Any = params
    for part in key.split("."):
        value = value[part]
    return value


def _git(root: Path, *arguments: str) -> str:
    env = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *arguments], cwd=root, env=env, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
