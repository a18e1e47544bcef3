import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import pytest

from flows.processes import LineSplitter, ProcessGroups, run_in_group

ROOT = Path(__file__).parents[2]


def test_lines_are_cut_at_newlines() -> None:
    lines = LineSplitter()
    assert lines.feed(b"one\ntw") == ["one"]
    assert lines.feed(b"o\r\n\nthree") == ["two"]
    assert lines.close() == ["three"]
    assert lines.close() == []


def test_characters_cut_in_two_are_put_together() -> None:
    lines = LineSplitter()
    text = "größer\n".encode()
    assert lines.feed(text[:3]) + lines.feed(text[3:]) == ["größer"]


def test_a_progress_bar_leaves_one_state_in_a_while() -> None:
    lines = LineSplitter(redraw_seconds=60)
    assert lines.feed(b"\r1/4\r2/4\r3/4") == ["1/4"]
    assert lines.feed(b"\r4/4\n") == ["4/4"]
    assert lines.feed(b"\r1/9\r2/9\r") == []


def test_output_of_both_streams_and_status() -> None:
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(3)"
    seen: list[str] = []
    assert run_in_group([sys.executable, "-c", code], seen.append) == 3
    assert seen == ["out", "err"]


def test_a_signal_is_a_negative_status() -> None:
    code = "import os; os.kill(os.getpid(), 9)"
    assert run_in_group([sys.executable, "-c", code], print) == -signal.SIGKILL


def test_commands_of_several_threads_end_together() -> None:
    groups, seen = ProcessGroups(), SimpleQueue[str]()
    code = "import time; print('here', flush=True); time.sleep(60)"
    with ThreadPoolExecutor(2) as threads:
        futures = [
            threads.submit(groups.run, [sys.executable, "-c", code], seen.put) for _ in range(2)
        ]
        for _ in futures:
            assert seen.get(timeout=30) == "here"
        groups.end()
        assert [future.result(10) for future in futures] == [-signal.SIGTERM] * 2
    with pytest.raises(RuntimeError, match="no command is started any more"):
        groups.run([sys.executable, "-c", code], print)
    assert ProcessGroups().run([sys.executable, "-c", "print(1)"], seen.put) == 0
    assert seen.get_nowait() == "1"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_a_program_leaves_its_contexts(number: signal.Signals) -> None:
    code = f"""
import os, time
from flows.processes import exit_on_signals
exit_on_signals()
try:
    os.kill(os.getpid(), {number.value})
    time.sleep(60)
finally:
    print("in order", flush=True)
"""
    seen: list[str] = []
    assert run_in_group([sys.executable, "-c", code], seen.append) == 128 + number
    assert seen == ["in order"]


FAMILY = """
import signal, subprocess, sys, time
if {stubborn}: signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("stubborn", [False, True])
def test_an_exception_ends_the_whole_group(stubborn: bool) -> None:
    children: list[int] = []

    def interrupt(line: str) -> None:
        children.append(int(line))
        raise KeyboardInterrupt

    started = time.monotonic()
    command = [sys.executable, "-c", FAMILY.format(stubborn=stubborn)]
    with pytest.raises(KeyboardInterrupt):
        run_in_group(command, interrupt, grace_seconds=1)
    assert time.monotonic() - started < 20
    assert not runs(children[0])


STARTER = """
from flows.processes import run_in_group
import sys
run_in_group([sys.executable, "-c", {family!r}], lambda line: print(line, flush=True), None, 1.0)
"""


@pytest.mark.parametrize("stubborn", [False, True])
def test_the_group_ends_when_its_starter_is_killed(stubborn: bool) -> None:
    code = STARTER.format(family=FAMILY.format(stubborn=stubborn))
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
    assert starter.stdout is not None
    child = int(starter.stdout.readline())
    assert runs(child)
    starter.kill()
    starter.wait()
    deadline = time.monotonic() + 10
    while runs(child):
        assert time.monotonic() < deadline
    starter.stdout.close()


def runs(pid: int) -> bool:
    """Whether a process exists and is no zombie, within the second that its end may take."""
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return False
        if state == "Z":
            return False
        time.sleep(0.05)
    return True
