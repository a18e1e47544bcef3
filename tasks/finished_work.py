"""What of a run lies finished on the disk, and whether there is room for the rest.

Finished are samples and masks, in outputs and work store.

Imports no torch.
"""

import json
import shutil
from pathlib import Path

from tasks import records
from tasks.digests import files_below
from tasks.durable import new_file
from tasks.in_use import read_in_use
from tasks.machine import run_bytes
from tasks.params import Params
from tasks.work_store import STORE

PLANNED = Path(".maskloom/planned.json")
"""Remembers what samples and masks were made from when preflight last passed."""
STAGES = {"samples": "sample_images", "masks": "extract_masks"}


def planned_work(params: Params) -> dict[str, str]:
    """What samples and masks are made from, as far as parameters tell.

    More images of the same kind leave those that are there as they are, so their number is left
    out.
    """
    prompts = params.expand_prompts.model_dump(exclude={"images_per_class"})
    sampling = params.adapt_lora.model_dump(), params.sample_images.model_dump()
    samples = records.content_id(prompts, sampling)
    masks = records.content_id(samples, params.extract_masks.model_dump())
    return {"samples": samples, "masks": masks}


def remember_plan(params: Params, root: Path) -> None:
    """Say what the samples and masks are made from that are computed from now on."""
    with new_file(root / PLANNED) as file:
        file.write(json.dumps(planned_work(params)).encode())


def disk_problems(params: Params, root: Path) -> list[str]:
    """Whether the disk lacks room for what is not finished yet."""
    needed = max(0, run_bytes(params) - finished_bytes(params, root))
    free = shutil.disk_usage(root).free
    if free >= needed:
        return []
    return [
        f"disk: the run needs about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free in "
        f"{root.resolve()}; make room, such as with `python -m tasks.shards prune`, or lower "
        "expand_prompts.images_per_class"
    ]


def finished_bytes(params: Params, root: Path) -> int:
    """Bytes of the run that need not be written again; none of what other parameters made.

    Outputs that are there need not be made; a stopped run has left shards and no outputs.
    """
    try:
        last = records.read_json(root / PLANNED)
    except (OSError, ValueError):  # no run was planned here yet: what is there was brought here
        last = planned_work(params)
    there = 0
    for name, work in planned_work(params).items():
        if last.get(name) == work:
            outputs = _bytes(root / "data" / name)
            used = read_in_use(STAGES[name], root)
            there += outputs + max(outputs, _bytes(root / STORE / STAGES[name], used))
    return there


def _bytes(folder: Path, fingerprints: set[str] | None = None) -> int:
    """Of a folder's files; only those that are named by one of the fingerprints, if any are given.

    `tasks.work_store` puts the fingerprint before the first hyphen or dot of a name.
    """
    files = files_below(folder)
    if fingerprints is not None:
        files = [path for path in files if path.stem.partition("-")[0] in fingerprints]
    return sum(path.stat().st_size for path in files)
