"""Processes that compute shards: each has a device of its own and loads the model once.

A worker that dies takes the shard in hand with it and nothing else; the next shard starts it anew.
Imports no torch: the workers do.
"""

import importlib
import logging
import multiprocessing
import os
import queue
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Self

from tasks.params import InputError
from tasks.work_store import Shard


class WorkerDied(Exception):
    """A worker's process ended before its shard was done."""


class WorkersClosed(Exception):
    """The run is ending: no shard is started any more."""


class ShardFailed(Exception):
    """The stage's code failed on a shard; the message is its traceback."""


def compute(module: str, job: Any, root: Path, device: str | None) -> Shard:
    """One shard of a stage, in this process.

    Args:
        module: the stage's, such as "tasks.sample_images".
        job: of the stage's plan.
        root: the repository root.
        device: which one of a machine; None: as the parameters say.
    """
    compute_shard = importlib.import_module(module).compute_shard
    shard: Shard = compute_shard(job, root, *([] if device is None else [device]))
    return shard


class ShardWorker:
    """A process that computes one shard at a time, started with the first.

    Args:
        module: as for `compute`.
        root: the repository root.
        device: such as "cuda:1"; None: as the parameters say.
    """

    def __init__(self, module: str, root: Path, device: str | None) -> None:
        self.device = device
        self._arguments = (module, root, device)
        self._lock = threading.Lock()
        self._ended = False
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def compute(self, job: Any) -> Shard:
        """The job's shard.

        Raises:
            WorkerDied: the process ended.
            WorkersClosed: `end` was called.
            ShardFailed: the stage's code failed.
            InputError: the stage refused it.
        """
        if self._process is None or not self._process.is_alive():
            self._start()
        assert self._process is not None and self._connection is not None
        try:
            self._connection.send(job)
            outcome, answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise WorkerDied(f"its worker ended with status {self._process.exitcode}") from None
        if outcome == "refused":
            raise InputError(answer)
        if outcome == "failed":
            raise ShardFailed(answer)
        shard: Shard = answer
        return shard

    def end(self) -> None:
        """End the process, whatever it is doing; it is not started again."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.kill()
                self._process.join()

    def _start(self) -> None:
        with self._lock:
            if self._ended:
                raise WorkersClosed
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            arguments = (theirs, *self._arguments)
            self._process = context.Process(target=_serve, args=arguments, daemon=True)
            self._process.start()
            theirs.close()


class Workers:
    """The workers of a machine, for as many threads; ends them with the block.

    Args:
        module: as for `compute`.
        root: the repository root.
        devices: of each worker.
        own_processes: or else the calling thread computes.
        slot: what a shard on a device holds while it is computed, such as a place on the server.
    """

    def __init__(
        self,
        module: str,
        root: Path,
        devices: Sequence[str | None],
        own_processes: bool,
        slot: Callable[[str | None], AbstractContextManager[Any]] = lambda _device: nullcontext(),
    ) -> None:
        self._module, self._root = module, root
        self._own_processes, self._slot = own_processes, slot
        self._all = [ShardWorker(module, root, device) for device in devices]
        self._free: queue.Queue[ShardWorker] = queue.Queue()
        for worker in self._all:
            self._free.put(worker)
        self._closed = False

    def compute(self, job: Any) -> Shard:
        """The job's shard, by the next free worker; raises as `ShardWorker.compute`."""
        worker = self._free.get()
        try:
            if self._closed:
                raise WorkersClosed
            with self._slot(worker.device):
                if self._own_processes:
                    return worker.compute(job)
                return compute(self._module, job, self._root, worker.device)
        finally:
            self._free.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        for worker in self._all:
            worker.end()


def slot_name(device: str) -> str:
    """The server's concurrency limit for a GPU of this machine: "gpu:<host>:<number>"."""
    return f"gpu:{socket.gethostname()}:{device.partition(':')[2] or 0}"


def _serve(connection: Connection, module: str, root: Path, device: str | None) -> None:
    """What a worker's process does: shards, until it is ended or its starter is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the starter ends it
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    while True:
        job = connection.recv()
        answer: tuple[str, Any]
        try:
            answer = ("done", compute(module, job, root, device))
        except InputError as error:
            answer = ("refused", str(error))
        except Exception:
            answer = ("failed", traceback.format_exc())
        connection.send(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
