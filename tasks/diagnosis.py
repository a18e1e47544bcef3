"""What `tasks.doctor` found, as tables for people and as JSON for machines."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.environment_checks import Check
from tasks.plain_text import plain
from tasks.run_estimate import Cost

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
NOT_KNOWN = "not known: measure with `python -m tasks.doctor --measure`"


@dataclass
class Diagnosis:
    """What was found.

    Attributes:
        checks: in the order of the table.
        costs: of the stages and together; empty where the parameters cannot be read.
        device, trainer: what they were reckoned for.
    """

    checks: list[Check] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    device: str = ""
    trainer: str = ""

    @property
    def failed(self) -> bool:
        """Whether a run cannot succeed as things are."""
        return any(check.state == "fail" for check in self.checks)

    def run(self, name: str, check: Callable[..., Iterable[Check]], *args: object) -> None:
        """Add a check's rows; one that breaks down is a row that says so."""
        try:
            self.checks += check(*args)
        except Exception as error:  # whatever it is, the other checks have to run
            told = f"could not be checked: {type(error).__name__}: {error}"
            self.checks.append(Check(name, "fail", told, "put this right first, or report it"))


def show(found: Diagnosis, console: Console) -> None:
    """Print the tables."""
    table = Table(title="Is everything there?", title_justify="left")
    for title in ("check", "state", "value", "remedy"):
        table.add_column(title, overflow="fold")
    for one in found.checks:
        state = Text(one.state, style=COLOURS[one.state])
        table.add_row(one.name, state, Text(plain(one.value)), Text(plain(one.remedy)))
    console.print(table)
    if not found.costs:
        return
    reckoned = f"sampling on {found.device}, training on {found.trainer}"
    table = Table(title=f"What the run takes, {reckoned}", title_justify="left")
    for title in ("stage", "time", "memory", "disk", "basis"):
        table.add_column(title, overflow="fold")
    for cost in found.costs:
        basis = NOT_KNOWN if cost.seconds is None else cost.basis
        if cost.seconds is None and cost.stage != "sample_images":
            basis = "not known: a trial with few images tells it, in the stage's log"
        table.add_row(
            cost.stage, time_text(cost.seconds), size_text(cost.memory), size_text(cost.disk), basis
        )
    console.print(table)


def as_json(found: Diagnosis) -> dict[str, Any]:
    """For machines: ``ok``, ``checks``, ``costs`` (the last one is all together)."""
    return {
        "ok": not found.failed,
        "checks": [asdict(check) for check in found.checks],
        "device": found.device,
        "trainer": found.trainer,
        "costs": [asdict(cost) for cost in found.costs],
    }


def time_text(seconds: float | None) -> str:
    """Hours, minutes or seconds; a question mark where it is not known."""
    if seconds is None:
        return "?"
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def size_text(count: float | None) -> str:
    """Bytes as GB or MB; nothing where there are none."""
    if not count:
        return ""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
