"""What the last runs are made of: the fingerprints in ``.maskloom`` that pruning leaves alone.

Imports no torch.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from tasks import records
from tasks.durable import new_file

FOLDER = Path(".maskloom/in_use")
"""From the repository root: a file for each user of each kind."""


def write_in_use(kind: str, user: str, fingerprints: Iterable[str], root: Path = Path()) -> None:
    """Say what a run uses, in place of what its last run used.

    Args:
        kind: of what is used: a stage with a work store, ``training`` or ``lora``.
        user: whose run, such as a stage.
    """
    with new_file(root / FOLDER / f"{kind}.{records.content_id(user)}.json") as file:
        content = {"user": user, "fingerprints": sorted(set(fingerprints))}
        file.write(json.dumps(content, indent=1).encode())


def read_in_use(kind: str, root: Path = Path()) -> set[str] | None:
    """The fingerprints of a kind that some last run uses; None where no run has said any."""
    files = sorted((root / FOLDER).glob(f"{kind}.*.json"))
    used = [records.read_json(path)["fingerprints"] for path in files]
    return {each for fingerprints in used for each in fingerprints} if used else None
