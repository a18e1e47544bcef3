"""What the runs of a grid share, as ``dvc.yaml`` alone tells before anything runs."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tasks.entry import maker_of, stage_writes
from tasks.params import InputError

Tree = dict[str, Any]
"""Sections of ``params.yaml``."""


def stage_keys(stages: Mapping[str, Any], params: Tree, last: str) -> dict[str, str]:
    """Stage -> digest of its command, its parameters and the digests of the stages it reads.

    A stage that always runs is a check: for the same inputs, whose paths are parameters of those
    who read them, it writes the same, so it makes no difference here.

    Args:
        stages: those of ``dvc.yaml``, in running order.
        last: the stages up to this one that it needs.
    """
    makers: dict[str, str] = {}
    keys: dict[str, str] = {}
    needs: dict[str, set[str]] = {}
    for name, stage in stages.items():
        if stage.get("always_changed"):
            continue
        sources = {maker for dep in stage.get("deps", []) if (maker := maker_of(dep, makers))}
        values = {key: _value(params, key) for key in stage.get("params", [])}
        told = [name, stage["cmd"], values, sorted(keys[source] for source in sources)]
        keys[name] = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
        needs[name] = {name}.union(*(needs[source] for source in sources))
        makers |= dict.fromkeys(stage_writes(stage), name)
    return {name: keys[name] for name in stages if name in needs[last]}


def refuse_unmeasured(key: str, stages: Mapping[str, Any], ran: Mapping[str, str]) -> None:
    """Look for a number that no run computes: a clone has the committed ``metrics/`` all the same.

    Args:
        key: "evaluation.miou" is ``miou`` of ``metrics/evaluation.json``.
        stages: those of ``dvc.yaml``.
        ran: those that a run goes through, the last one last.

    Raises:
        InputError: none of them writes its file.
    """
    path = f"metrics/{key.partition('.')[0]}.json"
    writer = next((name for name, stage in stages.items() if path in stage_writes(stage)), None)
    if writer is None:
        raise InputError(
            f"{key}: no stage of dvc.yaml writes {path}; name a number of another file of metrics/"
        )
    if writer not in ran:
        raise InputError(
            f"{key}: {writer} writes {path}, and runs up to {list(ran)[-1]} do without it; give "
            f"`stage: {writer}` or a later one, or another number as `measure` or in `also`"
        )


def _value(params: Tree, key: str) -> Any:
    value: Any = params
    for part in key.split("."):
        value = value[part]
    return value
