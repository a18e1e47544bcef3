"""Where a dataset comes from: parameters, model and DVC revision, as an export records them.

The parameters are those in ``dvc.lock`` that the dataset was made with, provided that the lock is
of this very dataset, else those of ``params.yaml``. No clock and no host: an export of the same
dataset at the same revision says the same.
"""

import hashlib
import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.digests import files_below
from tasks.params import InputError, load_params
from tasks.records import read_json

DATASET = "data/dataset"
LOCK = "dvc.lock"
INPUTS = (
    f"{DATASET}/index.parquet",
    f"{DATASET}/classes.json",
    "data/inputs/model.json",
    "data/samples/index.parquet",
)


@dataclass(frozen=True)
class Origin:
    """What a dataset was made with.

    Attributes:
        dataset_md5: of ``data/dataset``, as DVC names it.
        parameters_digest: SHA-256 of the parameters as canonical JSON.
        parameters_from: ``dvc.lock``, or ``params.yaml`` where the lock is not of this dataset.
        revision: the git commit whose ``dvc.lock`` is of this dataset; None if none is checked out.
        model: path or id of the base model.
        model_digest: its SHA-256.
        adapter: digest and scale of the LoRA; None without one.
    """

    dataset_md5: str
    parameters_digest: str
    parameters_from: str
    revision: str | None
    model: str
    model_digest: str
    adapter: str | None

    def describe(self) -> dict[str, Any]:
        """All of it, for a manifest."""
        return asdict(self)


def read_origin(root: Path) -> Origin:
    """The origin of ``data/dataset``.

    Raises:
        InputError: there is no dataset, or ``params.yaml`` is needed and bad.
    """
    missing = [path for path in INPUTS if not (root / path).is_file()]
    if missing:
        raise InputError(f"no dataset to export: {', '.join(missing)} missing; run `dvc repro`")
    md5 = directory_md5(root / DATASET)
    locked = _locked(root, md5)
    if locked is not None:
        parameters, source = locked, LOCK
    else:
        whole = load_params(root / "params.yaml", lists=root).model_dump(mode="json")
        parameters, source = whole, "params.yaml"
    text = json.dumps(parameters, sort_keys=True, ensure_ascii=False)
    adapter_file = root / "models/lora/adapter.json"
    adapter = read_json(adapter_file)["digest"] if adapter_file.is_file() else None
    return Origin(
        dataset_md5=md5,
        parameters_digest=hashlib.sha256(text.encode()).hexdigest(),
        parameters_from=source,
        revision=_revision(root) if locked is not None else None,
        model=str(_value(parameters, "sample_images.model")),
        model_digest=read_json(root / "data/inputs/model.json")["digest"],
        adapter=f"{adapter} at {_value(parameters, 'adapt_lora.scale')}" if adapter else None,
    )


def directory_md5(folder: Path) -> str:
    """The name that DVC gives a folder's contents: the MD5 of its list of names and MD5s."""
    listed = []
    for path in files_below(folder):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "md5").hexdigest()
        listed.append({"md5": digest, "relpath": path.relative_to(folder).as_posix()})
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"


def _locked(root: Path, md5: str) -> dict[str, Any] | None:
    """All parameters that a dataset depends on by ``dvc.lock``; None if it is of another one."""
    try:
        lock = yaml.safe_load((root / LOCK).read_text(encoding="utf-8"))
        stages = lock["stages"]
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return None
    makers = {out["path"]: stage for stage in stages.values() for out in stage.get("outs", [])}
    outs = makers.get(DATASET, {}).get("outs", [])
    if not any(out["path"] == DATASET and out.get("md5") == md5 for out in outs):
        return None
    parameters: dict[str, Any] = {}
    todo, seen = [DATASET], set()
    while todo:
        path = todo.pop()
        stage = makers.get(path)
        if stage is None or path in seen:
            continue
        seen.add(path)
        parameters |= stage.get("params", {}).get("params.yaml", {})
        todo += [dep["path"] for dep in stage.get("deps", [])]
    return parameters


def _value(parameters: dict[str, Any], key: str) -> Any:
    """A dotted key, whether the parameters hold it or its section."""
    section, _, name = key.partition(".")
    return parameters[key] if key in parameters else parameters[section][name]


def _revision(root: Path) -> str | None:
    """The commit that is checked out, if ``dvc.lock`` is as it says."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    tracked = git("ls-files", "--error-unmatch", LOCK) is not None
    unchanged = git("diff", "--quiet", "HEAD", "--", LOCK) is not None
    return git("rev-parse", "HEAD") if tracked and unchanged else None
