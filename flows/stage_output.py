"""What DVC and a stage print: what belongs in the log, how it went, and why it failed."""

import re

from flows.results import Outcome

_CHATTER = re.compile(
    r"To track the changes with git|To enable auto staging|Use `dvc push`"
    r"|WARNING: Process .* had been killed|(Generating|Updating) lock"
    r"|\s+(git add|dvc config core\.autostage)"
)
_OUTCOMES: list[tuple[str, Outcome]] = [
    ("Running stage ", "ran"),
    ("is cached - skipping run", "restored"),
    ("didn't change, skipping", "unchanged"),
]
_EXIT_STATUS = re.compile(r"failed to run: .*, exited with (-?\d+)$")
_OUT_OF_MEMORY = re.compile(r"out of memory|OutOfMemoryError|MemoryError|Cannot allocate memory")
_LOGGED = re.compile(r"\d\d:\d\d:\d\d ")


class StageFailed(Exception):
    """A stage's process failed. The message ends with what the stage said last.

    Attributes:
        worth_retrying: whether the same may pass another time: a signal from outside ended the
            process, as the system does when memory is short, or it ran out of memory itself.
    """

    def __init__(self, stage: str, status: int, last_words: list[str]) -> None:
        super().__init__("\n".join([f"stage {stage} failed (exit status {status})", *last_words]))
        # A shell tells a signal as 128 and its number; DVC's own errors end with 255.
        number = status - 128 if 128 < status <= 128 + 64 else -status
        killed = number > 0 and number not in (2, 15)  # SIGINT, SIGTERM: somebody wanted the end
        self.worth_retrying = killed or bool(_OUT_OF_MEMORY.search("\n".join(last_words)))


class StageOutput:
    """What DVC and the stage print: told apart, shortened, and remembered for an error."""

    def __init__(self) -> None:
        self.outcome: Outcome = "unchanged"
        self.exit_status: int | None = None
        self.last_words: list[str] = []

    def read(self, line: str) -> str | None:
        """Take in one line; returns it as it belongs in the log, None where it does not."""
        for mark, outcome in _OUTCOMES:
            if mark in line:
                self.outcome = outcome
                return line
        if _CHATTER.match(line):
            return None
        if found := _EXIT_STATUS.search(line):
            self.exit_status = int(found[1])
            return None
        if _LOGGED.match(line):
            self.last_words = []
            return _LOGGED.sub("", line, count=1)  # the run log has its own clock
        if not line.startswith("> "):
            self.last_words = [*self.last_words[-29:], line]
        return line
