"""What a stage leaves on the Prefect server: its progress, numbers, outputs, and their place.

The artifacts' keys are the stage's name with hyphens and what they are: ``sample-images-progress``,
``-numbers``, ``-outputs`` and ``-place``.
"""

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows.graph import stage_outputs
from flows.results import StageRun

log = logging.getLogger(__name__)

_PROGRESS = re.compile(r"(?P<what>[^:]+): (?P<done>\d+) of (?P<total>\d+) ")


def key(stage: str, what: str) -> str:
    """An artifact's key: lower case, digits and hyphens, as Prefect wants it."""
    return f"{stage.replace('_', '-')}-{what}"


class ProgressBar:
    """A stage's progress on the server, moved by what the stage logs.

    A server that does not answer costs the bar, and never the stage.
    """

    def __init__(self, stage: str) -> None:
        self._percent = 0.0
        self._artifact: UUID | None = None
        try:
            answer = create_progress_artifact(0.0, key(stage, "progress"), f"How far {stage} is")
        except Exception as error:  # of the network, of the server
            _warn(error)
            return
        assert isinstance(answer, UUID)  # and no coroutine, as no event loop runs here
        self._artifact = answer

    def read(self, line: str) -> None:
        """Take in a line of the stage's log; see `tasks.progress` for those that tell of progress.

        A stage with several counts starts anew with each.
        """
        if found := _PROGRESS.match(line):
            self.move(100 * int(found["done"]) / max(int(found["total"]), 1))

    def move(self, percent: float) -> None:
        """Set it to ``percent``, 0..100."""
        if self._artifact is None or percent == self._percent:
            return
        self._percent = percent
        try:
            update_progress_artifact(self._artifact, percent)
        except Exception as error:  # the next one may pass again
            _warn(error)


def _warn(error: Exception) -> None:
    told = str(error).partition("\n")[0] or type(error).__name__
    log.warning("the server does not show the progress: %s", told)


def leave_results(run: StageRun, root: Path = Path()) -> None:
    """Leave the table, the Markdown and the link of a stage that has run."""
    outputs = stage_outputs(run.stage, root)
    rows = [
        row
        for path in outputs
        if path.startswith("metrics/") and path.endswith(".json")
        for row in number_rows(json.loads((root / path).read_text(encoding="utf-8")))
    ]
    if rows:
        create_table_artifact(rows, key(run.stage, "numbers"), f"Numbers of {run.stage}")
    create_markdown_artifact(
        outputs_markdown(run, outputs), key(run.stage, "outputs"), f"Outputs of {run.stage}"
    )
    if outputs:
        place = (root / next(iter(outputs))).resolve()
        create_link_artifact(place.as_uri(), str(place), key=key(run.stage, "place"))


def number_rows(numbers: Mapping[str, Any], prefix: str = "") -> list[dict[str, Any]]:
    """A metrics file as rows of name and value: "per_class.car", 0.7. Lists are left out."""
    rows: list[dict[str, Any]] = []
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            rows += number_rows(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            rows.append({"name": f"{prefix}{name}", "value": value})
    return rows


def outputs_markdown(run: StageRun, outputs: Mapping[str, str]) -> str:
    """The stage's outcome, and its outputs with their digests, as Markdown."""
    lines = [f"**{run.stage}** {run.outcome} in {run.seconds:.1f} s", ""]
    lines += ["| output | MD5 |", "| --- | --- |"]
    lines += [f"| `{path}` | `{digest}` |" for path, digest in outputs.items()]
    return "\n".join(lines)
