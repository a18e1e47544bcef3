import io
from types import SimpleNamespace

import pytest

from tasks import progress as module
from tasks.progress import progress


class Clock:
    """Seconds, moved by hand."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Clock:
    """The clock of `progress`, whose standard error is no terminal and whose log is kept."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=io.StringIO()))
    caplog.set_level("INFO")
    return clock


def test_a_line_now_and_then_says_how_far_it_is_and_what_is_left(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with progress("sampling", 120, "images") as advance:
        for count, note in ((12, ""), (18, ""), (6, ""), (24, "loss 0.25")):
            clock.now += 6
            advance(count, note)
        clock.now += 9
        advance(60)
    assert caplog.messages == [
        "sampling: 30 of 120 images, 2.5 images/s, 36 s left",
        "sampling: 60 of 120 images, 2.5 images/s, loss 0.25, 24 s left",
        "sampling: 120 images in 33 s, 3.6 images/s",
    ]


def test_what_fails_is_not_told_as_done(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(OSError, match="full"), progress("export", 3, "images") as advance:
        advance(1)
        raise OSError("full")
    assert caplog.messages == []


def test_it_can_be_silent(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with progress("export", 3, "images", enabled=False) as advance:
        clock.now += 60
        advance(3, "done")
    assert caplog.messages == []


def test_a_terminal_gets_a_bar_instead(
    clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=terminal))
    with progress("export", 40, "images") as advance:
        clock.now += 20
        advance(40, "loss 0.25")
    shown = terminal.getvalue()
    assert caplog.messages == []
    for expected in ("export", "40/40", "2.0 images/s", "loss 0.25"):
        assert expected in shown
