"""Prefect's temporary server, in a session of its own.

Without ``PREFECT_API_URL`` Prefect starts a server for the length of a run. As Prefect starts it,
it belongs to the terminal's foreground group: Ctrl-C ends it before the flow has told it of its own
end, and what the flow then has to say waits for minutes for a server that is gone.
"""

import os
import subprocess
import sys
from typing import Any

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, get_current_settings

from flows.processes import end_group, start_group

_STDERR = 2


class TemporaryServer(SubprocessASGIServer):
    """As Prefect's, but no signal of the terminal reaches it, and it ends even when we are killed.

    Once made, it is the one that Prefect finds and starts when it first needs one.
    """

    def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
        uvicorn = [sys.executable, "-m", "uvicorn"]
        app = ["--factory", "prefect.server.api.server:create_app"]
        address = ["--host", "127.0.0.1", "--port", str(self.port)]
        environment = {
            **os.environ,
            "PREFECT_UI_ENABLED": "0",
            "PREFECT__SERVER_EPHEMERAL": "1",
            "PREFECT__SERVER_FINAL": "1",
            **get_current_settings().to_environment_variables(exclude_unset=True),
        }
        options = ["--log-level", "error", "--lifespan", "on"]
        return start_group([*uvicorn, *app, *address, *options], _STDERR, environment)

    def stop(self) -> None:
        """End it; Prefect's own stop then finds it ended."""
        if self.server_process:
            end_group(self.server_process)
        super().stop()


def own_temporary_server() -> None:
    """Let Prefect start a `TemporaryServer`, should it have no server to go to."""
    if not PREFECT_API_URL.value():
        TemporaryServer()
