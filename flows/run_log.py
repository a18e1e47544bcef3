"""The run log, and the lock that keeps runs from meeting. Both lie outside every stage's outputs.

Outputs hold no clock and no host name; what made them, when and where stands here, one JSON line a
run in ``.maskloom/runs.ndjson``, joined to them by their digests.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from flows.graph import output_digests
from flows.results import StageRun
from tasks.git import ask_git
from tasks.json_lines import add_line
from tasks.params import InputError
from tasks.report_script import script_json
from tasks.run_records import RUN_LOG
from tasks.service_checks import RUN_LOCK

FOLDER = Path(".maskloom")


def now() -> str:
    """Local time with its offset, ISO 8601, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


@contextmanager
def only_run(root: Path = Path()) -> Iterator[None]:
    """Hold the repository for one run; the system lets go of it however the process ends.

    Raises:
        InputError: another run of the flow holds it.
    """
    path = root / RUN_LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise InputError(
                f"another run of the flow is under way here ({holder}); wait for its end or stop it"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} since {now()}")
        file.flush()
        yield


def append_run(
    run_id: str,
    started: str,
    state: str,
    runs: list[StageRun],
    root: Path = Path(),
    version: str | None = None,
) -> None:
    """Add a line: the run, the machine, the code's revision, the stages, the outputs' digests.

    Args:
        version: the name under which `flows.versions` has kept the run.
    """
    entry = {
        "run_id": run_id,
        "started": started,
        "ended": now(),
        "state": state,
        "host": socket.gethostname(),
        "revision": revision(root),
        "version": version,
        "stages": [asdict(run) | {"seconds": round(run.seconds, 2)} for run in runs],
        "outputs": output_digests(root),
    }
    add_line(root / RUN_LOG, entry)
    times = {key: entry[key] for key in ("started", "host", "stages")}
    script = f"maskloomTimings({script_json(times)});\n"
    (root / FOLDER / "timings.js").write_text(script, encoding="ascii")


def revision(root: Path = Path()) -> str | None:
    """The commit, with "-dirty" where tracked files differ from it; None outside of git."""
    described = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return (ask_git(described, root) or "").strip() or None
