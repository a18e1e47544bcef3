"""Prefect's temporary server, started for real: it outlives a Ctrl-C of ours, but never us."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

STARTER = """
import time
from prefect.client.orchestration import get_client
from prefect.server.api.server import SubprocessASGIServer
from flows.temporary_server import own_temporary_server
own_temporary_server()
with get_client(sync_client=True):
    print(SubprocessASGIServer().server_process.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_has_a_session_of_its_own_and_ends_when_we_are_killed(tmp_path: Path) -> None:
    environment = os.environ | {"PREFECT_HOME": str(tmp_path)}
    environment.pop("PREFECT_API_URL", None)
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER], stdout=subprocess.PIPE, cwd=ROOT, env=environment
    )
    assert starter.stdout is not None
    server = int(starter.stdout.readline())
    assert os.getsid(server) == server != os.getsid(starter.pid)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    deadline = time.monotonic() + 20
    while group_lives(server):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def group_lives(group: int) -> bool:
    """Whether a process of the group runs; zombies do not count."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, its_group = stat.read_text().rsplit(")", 1)[1].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state != "Z":
            return True
    return False
