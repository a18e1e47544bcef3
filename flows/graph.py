"""What the flow knows of the pipeline: stages of ``dvc.yaml``, digests of ``dvc.lock``."""

import difflib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from tasks.entry import maker_of, stage_writes
from tasks.params import InputError
from tasks.revisions import WORKSPACE, Revision


class _StageChoice:
    """Shows a form's field as a choice of this repository's stages."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"enum": stage_names(Path(__file__).parents[1])}


StageName = Annotated[str, _StageChoice()]
"""A stage of ``dvc.yaml``; `select_stages` checks it."""


def stage_names(root: Path = Path()) -> list[str]:
    """The stages of ``dvc.yaml`` in the order in which they stand there, the running order.

    Raises:
        InputError: there is no ``dvc.yaml``.
    """
    return list(_stages(root))


def select_stages(
    stages: list[str], only: str | None = None, upto: str | None = None, start: str | None = None
) -> list[str]:
    """The stages to run: all, one, or those from one up to and with another.

    Raises:
        InputError: ``only`` is given with another, a name is no stage, or ``start`` comes late.
    """
    if only is not None and (upto is not None or start is not None):
        other = "upto" if upto is not None else "start"
        raise InputError(f"--only and --{other} exclude each other; give one of them")
    for chosen in filter(None, (only, upto, start)):
        if chosen not in stages:
            near = difflib.get_close_matches(chosen, stages, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"stages: {', '.join(stages)}"
            raise InputError(f"{chosen!r} is no stage of dvc.yaml; {hint}")
    if only is not None:
        return [only]
    first = stages.index(start) if start is not None else 0
    last = stages.index(upto) if upto is not None else len(stages) - 1
    if first > last:
        raise InputError(f"--start: {start!r} comes after {upto!r}, the stage of --upto")
    return stages[first : last + 1]


def check_inputs(selected: list[str], root: Path = Path()) -> None:
    """Check that what the selected stages read of the others' outputs is there.

    Raises:
        InputError: an earlier stage has not run yet.
    """
    stages = _stages(root)
    makers = {path: name for name, stage in stages.items() for path in stage_writes(stage)}
    for name in selected:
        for path in stages[name].get("deps", []):
            made_by = maker_of(path, makers)
            if made_by and made_by not in selected and not (root / path).exists():
                raise InputError(
                    f"{name} reads {path}, which {made_by} makes and which is not there; give "
                    f"--start {made_by}, or neither --only nor --start"
                )


def output_digests(root: Path = Path()) -> dict[str, str]:
    """Output path -> MD5 from ``dvc.lock``, sorted; empty before the first run."""
    here = Revision(WORKSPACE, None, root)
    return {path: here.outs[path].md5 for path in sorted(here.outs)} if here.locked_stages else {}


def stage_outputs(stage: str, root: Path = Path()) -> dict[str, str]:
    """As `output_digests`, of one stage; data before numbers and plots."""
    here = Revision(WORKSPACE, None, root)
    outs = here.outs_of(stage) if stage in here.locked_stages else []
    last = ("metrics/", "plots/")
    ordered = sorted(outs, key=lambda out: (out.path.startswith(last), out.path))
    return {out.path: out.md5 for out in ordered}


def named_files(root: Path = Path()) -> tuple[list[str], list[str]]:
    """Files of the graph that belong into git, as ``dvc.yaml`` names them.

    Returns:
        what the stages read and none writes, folders included, and what they write past DVC's
        cache, with DVC's own files. Not all of them need to exist.
    """
    stages = _stages(root).values()
    written = {path: cached for stage in stages for path, cached in stage_writes(stage).items()}
    read = {path for stage in stages for path in stage.get("deps", []) if path not in written}
    results = [path for path, cached in written.items() if not cached]
    return sorted(read), ["dvc.yaml", "dvc.lock", "params.yaml", *results]


def written_paths(root: Path = Path()) -> set[str]:
    """Everything that the stages write."""
    return {path for stage in _stages(root).values() for path in stage_writes(stage)}


def unchanged_stages(stages: list[str], env: Mapping[str, str] | None = None) -> set[str]:
    """The stages for which DVC finds nothing to do; none where it cannot tell."""
    command = [sys.executable, "-m", "dvc", "status", "--json", *stages]
    answer = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return set(stages) - set(json.loads(answer.stdout)) if answer.returncode == 0 else set()


def _stages(root: Path) -> dict[str, dict[str, Any]]:
    path = root / "dvc.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run from the repository root") from None
    return dict((content or {}).get("stages", {}))
