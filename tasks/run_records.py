"""The run log of the flow, ``.maskloom/runs.ndjson``, read: which run made an output.

The flow writes a line a run, with the digests of all outputs as the run left them
(`flows.run_log`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.json_lines import read_lines

RUN_LOG = Path(".maskloom/runs.ndjson")

Run = dict[str, Any]


def read_runs(root: Path = Path()) -> Iterator[Run]:
    """All runs, the earliest first; none where the flow never ran."""
    return read_lines(root / RUN_LOG, {"run_id", "started", "ended", "stages", "outputs"})


def run_of(stage: str, output: str, md5: str, runs: list[Run]) -> Run | None:
    """The run that made an output: the first that ran its stage and left it with this digest.

    Where no run says that it ran the stage, the first that found the output there.

    Returns:
        ``run_id``, ``started``, ``ended``, ``host``, ``revision``, ``version`` (its name in
        `flows.versions`, None where it was not kept), ``outcome`` and ``seconds``.
    """
    found = None
    for run in runs:
        if run["outputs"].get(output) != md5:
            continue
        of_stage: Run = next((one for one in run["stages"] if one["stage"] == stage), {})
        outcome = of_stage.get("outcome")
        if found is None or (outcome == "ran" and found["outcome"] != "ran"):
            keys = ("run_id", "started", "ended", "host", "revision", "version")
            found = {key: run.get(key) for key in keys}
            found |= {"outcome": outcome, "seconds": of_stage.get("seconds")}
        if outcome == "ran":
            break
    return found
