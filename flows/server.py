"""``make server``: a Prefect server, a worker and this repository's deployments, on loopback.

The server's database and logs lie in ``.maskloom/prefect``. Whoever uses it gives the name and
password of ``PREFECT_API_AUTH_STRING``, which Prefect's own commands read too. A server or worker
that ends unasked is started again and named; Ctrl-C ends all of it.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import cyclopts
from cyclopts import Parameter
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from rich.console import Console

from flows.deployments import (
    HEARTBEAT_SECONDS,
    POOL,
    close_dead_runs,
    create_dead_run_rule,
    create_pool,
    deploy,
)
from flows.processes import end_group, exit_on_signals, start_group
from flows.run_log import FOLDER
from flows.synthesize import child_environment
from tasks.params import InputError
from tasks.version import project_version

HOST = "127.0.0.1"
STARTUP_SECONDS = 120.0
RESTARTS = 5
"""How often a service is started again before it is given up."""


class Service:
    """A process that is to live as long as this one, its output in a file.

    Attributes:
        name: "server" or "worker".
        log: the file.
    """

    def __init__(self, name: str, command: list[str], env: dict[str, str], log: Path) -> None:
        self.name, self.log = name, log
        self._command, self._env = command, env
        self._restarts = 0
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with open(self.log, "ab") as log:
            return start_group(self._command, log, self._env)

    def ended(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.poll()

    def restart(self) -> None:
        """Start it again.

        Raises:
            InputError: it has ended too often.
        """
        end_group(self._process)
        if self._restarts == RESTARTS:
            raise InputError(f"the {self.name} ended {RESTARTS + 1} times; see {self.log}")
        self._restarts += 1
        self._process = self._start()

    def end(self) -> None:
        """End it, with all that it has started in its group."""
        end_group(self._process)


def settings(port: int, root: Path = Path()) -> dict[str, str]:
    """The environment of server, worker and deployment.

    Raises:
        InputError: no name and password were given, or the port is taken.
    """
    credentials = os.environ.get("PREFECT_API_AUTH_STRING", "")
    user, _, password = credentials.partition(":")
    if not (user and password):
        raise InputError(
            "PREFECT_API_AUTH_STRING: "
            + ("is not NAME:PASSWORD" if credentials else "not set")
            + "; the server lets nobody in without. Choose both: "
            "export PREFECT_API_AUTH_STRING=me:..."
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InputError(
                f"--port: {port} cannot be had ({error.strerror}); end what holds it, or give "
                "another one"
            ) from None
    return {
        **child_environment(),
        "PREFECT_HOME": str((root / FOLDER / "prefect").resolve()),
        "PREFECT_API_URL": f"http://{HOST}:{port}/api",
        "PREFECT_SERVER_API_AUTH_STRING": credentials,
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        # Runs are started by the worker in this folder: its modules have to be found.
        "PYTHONPATH": str(root.resolve()),
    }


@contextmanager
def running(env: dict[str, str], root: Path = Path()) -> Iterator[list[Service]]:
    """Server and worker with the deployments made; all of it ends with the block.

    Args:
        env: see `settings`.

    Raises:
        InputError: the server does not answer, or ``prefect.yaml`` was refused.
    """
    home = Path(env["PREFECT_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    prefect = [sys.executable, "-m", "prefect"]
    url = env["PREFECT_API_URL"]
    port = url.removesuffix("/api").rpartition(":")[2]
    with ExitStack() as stack:
        start = ["server", "start", "--host", HOST, "--port", port]
        server = Service("server", prefect + start, env, home / "server.log")
        stack.callback(server.end)
        stack.enter_context(
            temporary_settings(
                {
                    PREFECT_API_URL: url,
                    PREFECT_API_AUTH_STRING: env["PREFECT_SERVER_API_AUTH_STRING"],
                }
            )
        )
        with get_client(sync_client=True) as client:
            _wait_for(server, client.api_healthcheck)
            create_pool(client)
            create_dead_run_rule(client)
            close_dead_runs(client)
        deploy(root, env)
        work = ["worker", "start", "--pool", POOL, "--type", "process"]
        worker = Service("worker", prefect + work, env, home / "worker.log")
        stack.callback(worker.end)
        yield [server, worker]


def supervise(services: list[Service], tell: Callable[[str], None]) -> NoReturn:
    """Start again what ends unasked, and say so; until an exception, Ctrl-C for one, ends it.

    Raises:
        InputError: a service ends again and again.
    """
    while True:
        for service in services:
            if (status := service.ended()) is not None:
                tell(f"The {service.name} has ended (status {status}); starting it again")
                service.restart()
        time.sleep(1)


def _wait_for(server: Service, error: Callable[[], Exception | None]) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while (found := error()) is not None:
        if server.ended() is not None or time.monotonic() > deadline:
            raise InputError(f"the Prefect server does not answer ({found}); see {server.log}")
        time.sleep(0.5)


def main(
    *, port: Annotated[int, Parameter(help="where the server listens, on loopback only")] = 4200
) -> None:
    """Start a Prefect server, a worker and the deployments of prefect.yaml; Ctrl-C ends them."""
    exit_on_signals()
    console = Console(soft_wrap=True, highlight=False)
    try:
        env = settings(port)
        console.print("Starting the Prefect server ...")
        with running(env) as services:
            url = env["PREFECT_API_URL"]
            console.print(
                f"Server and worker run: {url.removesuffix('/api')} (name and password: those of "
                "PREFECT_API_AUTH_STRING)\n"
                f"For commands elsewhere: export PREFECT_API_URL={url}\n"
                "Ctrl-C ends both, and what the worker runs; the next run goes on from there."
            )
            supervise(services, console.print)
    except KeyboardInterrupt:
        console.print("Ended.")
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None


app = cyclopts.App(name="python -m flows.server", help=main.__doc__, version=project_version)
app.default(main)

if __name__ == "__main__":
    app()
