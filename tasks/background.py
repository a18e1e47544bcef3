"""Work that is done beside the main one: encoding and writing, while the device samples."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Background:
    """One thread that does what it is handed, in that order; the block's end waits for it.

    Args:
        waiting: pieces of work that may be unfinished; who hands over more waits. So the memory
            that they take is bounded.
    """

    def __init__(self, waiting: int = 1) -> None:
        self._waiting = waiting
        self._unfinished: deque[Future[Any]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="background")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while kind is None and self._unfinished:
                self._unfinished.popleft().result()
        finally:
            self._thread.shutdown(cancel_futures=True)

    def do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Hand over work.

        Raises:
            Exception: what work that was handed over before has raised.
        """
        future = self._thread.submit(work, *args, **kwargs)
        self._unfinished.append(future)
        while len(self._unfinished) > self._waiting:
            self._unfinished.popleft().result()
        return future
