"""Progress with rate and time left: a bar on a terminal, a log line now and then elsewhere."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

LOG_SECONDS = 10.0


class Advance(Protocol):
    """What the block of `progress` is given."""

    def __call__(self, count: int, note: str = "", /) -> None:
        """Tell that ``count`` more units are done, and what else to show, such as the loss."""


@contextmanager
def progress(what: str, total: int, unit: str, *, enabled: bool = True) -> Iterator[Advance]:
    """Show how far ``what`` is; the block gets a function to call with the units just done.

    Where standard error is no terminal, such as in a flow's log, a line is logged every ten seconds
    and at the end.
    """
    started = time.monotonic()
    done = 0

    def rate() -> float:
        return done / max(time.monotonic() - started, 1e-9)

    if not enabled:
        yield lambda _count, _note="", /: None
    elif sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(what, total=total, rate="", note="")

            def advance(count: int, note: str = "", /) -> None:
                nonlocal done
                done += count
                bar.update(task, advance=count, rate=f"{rate():.1f} {unit}/s", note=note)

            yield advance
    else:
        told = started

        def tell(count: int, note: str = "", /) -> None:
            nonlocal done, told
            done += count
            now = time.monotonic()
            if now - told >= LOG_SECONDS:
                told = now
                left = (total - done) / max(rate(), 1e-9)
                shown = f"{rate():.1f} {unit}/s{', ' if note else ''}{note}"
                log.info("%s: %d of %d %s, %s, %.0f s left", what, done, total, unit, shown, left)

        yield tell
        log.info(
            "%s: %d %s in %.0f s, %.1f %s/s",
            what,
            done,
            unit,
            time.monotonic() - started,
            rate(),
            unit,
        )
