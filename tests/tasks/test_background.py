"""Work beside the main one: in order, bounded, and nothing that fails is lost."""

import threading
import time

import pytest

from tasks.background import Background


def test_work_is_done_in_order_in_another_thread() -> None:
    done: list[tuple[int, bool]] = []
    with Background() as background:
        for number in range(20):
            background.do(
                lambda n: done.append((n, threading.current_thread() is threading.main_thread())),
                number,
            )
    assert done == [(number, False) for number in range(20)]


def test_it_goes_on_while_the_work_is_done() -> None:
    """Two threads that wait for each other: one after the other they would wait for ever."""
    started, go = threading.Event(), threading.Event()
    with Background() as background:
        future = background.do(lambda: (started.set(), go.wait(10)))
        assert started.wait(10)
        go.set()
    assert future.result() == (None, True)


def test_no_more_waits_than_is_allowed() -> None:
    unfinished, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal unfinished
        time.sleep(0.002)
        with lock:
            unfinished -= 1

    with Background(waiting=3) as background:
        for _ in range(30):
            with lock:
                unfinished += 1
                most = max(most, unfinished)
            background.do(work)
    assert most <= 4  # three, and the one in hand
    assert unfinished == 0


def test_what_fails_is_raised_and_the_rest_left_out() -> None:
    done = []

    def work(number: int) -> None:
        if number == 2:
            raise OSError("disk full")
        done.append(number)

    with pytest.raises(OSError, match="disk full"), Background(waiting=1) as background:
        for number in range(100):
            background.do(work, number)
    assert done[:2] == [0, 1] and len(done) < 6


def test_the_last_works_failure_is_raised_too() -> None:
    def fail() -> None:
        raise ValueError("late")

    with pytest.raises(ValueError, match="late"), Background() as background:
        background.do(fail)


def test_an_error_of_the_block_is_not_hidden() -> None:
    def fail() -> None:
        raise ValueError("of the work")

    with pytest.raises(RuntimeError, match="of the block"), Background() as background:
        background.do(fail)
        raise RuntimeError("of the block")
