"""What the flow knows of the pipeline: stages of ``dvc.yaml``, digests of ``dvc.lock``."""

import difflib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tasks.params import InputError


def stage_names(root: Path = Path()) -> list[str]:
    """The stages of ``dvc.yaml`` in the order in which they stand there, the running order.

    Raises:
        InputError: there is no ``dvc.yaml``.
    """
    return list(_read(root / "dvc.yaml").get("stages", {}))


def select_stages(stages: list[str], only: str | None = None, upto: str | None = None) -> list[str]:
    """The stages to run: all, one, or all up to and with one.

    Raises:
        InputError: both are given, or a name is no stage.
    """
    if only is not None and upto is not None:
        raise InputError("--only and --upto exclude each other; give one of them")
    chosen = only if only is not None else upto
    if chosen is None:
        return stages
    if chosen not in stages:
        near = difflib.get_close_matches(chosen, stages, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"stages: {', '.join(stages)}"
        raise InputError(f"{chosen!r} is no stage of dvc.yaml; {hint}")
    return [chosen] if only is not None else stages[: stages.index(chosen) + 1]


def output_digests(root: Path = Path()) -> dict[str, str]:
    """Output path -> MD5 from ``dvc.lock``, sorted; empty before the first run."""
    path = root / "dvc.lock"
    stages = _read(path).get("stages", {}) if path.exists() else {}
    outs = [out for stage in stages.values() for out in stage.get("outs", [])]
    return {out["path"]: out["md5"] for out in sorted(outs, key=lambda out: out["path"])}


def unchanged_stages(stages: list[str], env: Mapping[str, str] | None = None) -> set[str]:
    """The stages for which DVC finds nothing to do; none where it cannot tell."""
    command = [sys.executable, "-m", "dvc", "status", "--json", *stages]
    answer = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return set(stages) - set(json.loads(answer.stdout)) if answer.returncode == 0 else set()


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run from the repository root") from None
    return content or {}
