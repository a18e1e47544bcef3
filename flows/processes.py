"""A command in a process group of its own, its output line by line, and the end of the group."""

import codecs
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Lock
from typing import IO

from flows import leash

GRACE_SECONDS = 5.0
"""What a cancelled group has to end by itself, between SIGTERM and SIGKILL."""
REDRAW_SECONDS = 10.0
"""Least time between two states of a progress bar in the log."""


def exit_on_signals() -> None:
    """Let SIGTERM and SIGHUP end this program as an exit does, with status 128 + their number.

    Contexts are left and child processes ended, as at Ctrl-C; Prefect's own answer to SIGTERM waits
    for the tasks that run.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _frame: sys.exit(128 + got))


class LineSplitter:
    """Cuts a stream of bytes into lines for a log.

    A line that ends with a carriage return is a progress bar's state, to be drawn over: one of them
    passes every ``redraw_seconds``, the others are dropped. Empty lines are dropped.
    """

    def __init__(self, redraw_seconds: float = REDRAW_SECONDS) -> None:
        self.redraw_seconds = redraw_seconds
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""
        self._redrawn = -float("inf")

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that ``chunk`` completes. A final carriage return waits for what follows it."""
        *pieces, self._rest = re.split(
            r"(?<=\n)|(?<=\r)(?=[^\n])", self._rest + self._decode(chunk)
        )
        return [line for piece in pieces if (line := self._line(piece))]

    def close(self) -> list[str]:
        """The last, unended line."""
        rest = self._rest + self._decoder.decode(b"", final=True)
        self._rest = ""
        return [line] if (line := rest.strip("\r\n")) else []

    def _decode(self, chunk: bytes) -> str:
        return self._decoder.decode(chunk)

    def _line(self, piece: str) -> str:
        text = piece.rstrip("\r\n")
        if piece.endswith("\r") and text:
            now = time.monotonic()
            if now - self._redrawn < self.redraw_seconds:
                return ""
            self._redrawn = now
        return text


def run_in_group(
    command: Sequence[str],
    on_line: Callable[[str], None],
    env: Mapping[str, str] | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> int:
    """Run a command to its end and hand on what it prints on either stream.

    It gets a session of its own: the terminal's Ctrl-C does not reach it. Whatever exception leaves
    this function, a cancellation included, ends the whole group first.

    Returns:
        The exit status; minus the signal's number where a signal ended the command.
    """
    process = start_group(command, subprocess.PIPE, env, grace_seconds)
    return _follow(process, on_line, grace_seconds)


def _follow(
    process: subprocess.Popen[bytes], on_line: Callable[[str], None], grace_seconds: float
) -> int:
    assert process.stdin is not None and process.stdout is not None  # PIPE was asked for
    lines = LineSplitter()
    try:
        while chunk := process.stdout.read1():  # type: ignore[attr-defined]  # buffered reader
            for line in lines.feed(chunk):
                on_line(line)
        for line in lines.close():
            on_line(line)
        return process.wait()
    except BaseException:
        end_group(process, grace_seconds)
        raise
    finally:
        process.stdin.close()
        process.stdout.close()


class ProcessGroups:
    """Commands that several threads run, each as `run_in_group` does, and that end together."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    def run(
        self,
        command: Sequence[str],
        on_line: Callable[[str], None],
        env: Mapping[str, str] | None = None,
    ) -> int:
        """See `run_in_group`.

        Raises:
            RuntimeError: `end` was called before.
        """
        with self._lock:
            if self._ended:
                raise RuntimeError("no command is started any more: the others have been ended")
            process = start_group(command, subprocess.PIPE, env)
            self._running.add(process)
        try:
            return _follow(process, on_line, GRACE_SECONDS)
        finally:
            with self._lock:
                self._running.discard(process)

    def end(self) -> None:
        """End the commands that run; no other is started."""
        with self._lock:
            self._ended = True
            running = list(self._running)
        for process in running:
            end_group(process)


def start_group(
    command: Sequence[str],
    output: int | IO[bytes],
    env: Mapping[str, str] | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> subprocess.Popen[bytes]:
    """Start a command in a group and session of its own, which ends even when we are killed.

    Args:
        output: where both streams go, as `subprocess.Popen` takes it.
        grace_seconds: between SIGTERM and SIGKILL, should we be killed (`flows.leash`).
    """
    return subprocess.Popen(
        [sys.executable, "-I", leash.__file__, str(grace_seconds), *command],
        stdin=subprocess.PIPE,  # held open, never written: its end tells of ours
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=env,
    )


def end_group(process: subprocess.Popen[bytes], grace_seconds: float = GRACE_SECONDS) -> None:
    """End ``process``, which leads a group, and all of the group: SIGTERM, then SIGKILL."""
    try:
        _signal_group(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while _group_lives(process) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:  # also when a second Ctrl-C cuts the wait short
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()


def _group_lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # reap the leader, or it would count as alive
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)
