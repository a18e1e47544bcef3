"""What answers and what runs beside a run: a Prefect server, a Ray cluster, another run.

Only the addresses that the user has set are contacted. Imports no torch.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil

from tasks.environment_checks import Check

RUN_LOCK = Path(".maskloom/run.lock")
"""What a run of the flow holds, see `flows.run_log.only_run`."""
DVC_LOCK = Path(".dvc/tmp/rwlock")
TIMEOUT_SECONDS = 5.0


def prefect_server() -> Iterator[Check]:
    """Whether the server of PREFECT_API_URL, or of Prefect's profile, answers and lets us in."""
    import httpx
    from prefect.settings import get_current_settings

    api = get_current_settings().api
    if not api.url:
        yield Check("Prefect", "ok", "no server set: flows run with one of their own")
        return
    url, name = api.url.rstrip("/"), "Prefect"
    auth, headers = None, {}
    if api.auth_string:
        user, _, password = api.auth_string.get_secret_value().partition(":")
        auth = (user, password)
    if api.key:
        headers["Authorization"] = f"Bearer {api.key.get_secret_value()}"
    try:
        # Its health is told to anybody; counting flows needs to be let in.
        answer = httpx.post(
            f"{url}/flows/count", json={}, auth=auth, headers=headers, timeout=TIMEOUT_SECONDS
        )
    except httpx.HTTPError as error:
        remedy = "start that server (`make server`), or unset PREFECT_API_URL to run without one"
        yield Check(name, "fail", f"{url} does not answer: {error}", remedy)
        return
    if answer.status_code in (401, 403):
        remedy = "give the server's own: export PREFECT_API_AUTH_STRING=NAME:PASSWORD"
        told = "no name and password are set" if auth is None else "it refuses those that are set"
        yield Check(name, "fail", f"{url} asks for name and password; {told}", remedy)
    elif answer.is_error:
        remedy = "PREFECT_API_URL ends in /api; see the server's log"
        yield Check(name, "fail", f"{url} answers with status {answer.status_code}", remedy)
    else:
        yield Check(name, "ok", f"{url} answers; flows it knows: {answer.text.strip()[:20]}")


def ray_address(given: str | None) -> str | None:
    """The address of a Ray cluster, where one is configured.

    Args:
        given: on the command line; else RAY_ADDRESS is read.
    """
    return given or os.environ.get("RAY_ADDRESS") or None


def ray_cluster(address: str | None) -> Iterator[Check]:
    """Whether something listens at a Ray cluster's address; no row without one."""
    if address is None:
        return
    problem = silent(address)
    if problem:
        remedy = "give the head node's, such as ray://head:10001; `ray status` there says more"
        yield Check("Ray", "fail", f"nothing answers at {address!r} ({problem})", remedy)
    else:
        yield Check("Ray", "ok", f"{address} answers")


def silent(address: str) -> str | None:
    """Why nothing listens at ``ray://host:port`` or ``host:port``, or None where something does."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2 * TIMEOUT_SECONDS).close()
    except (OSError, ValueError) as error:
        return str(error)
    return None


def other_run(root: Path) -> Iterator[Check]:
    """Whether a run of the flow, or of DVC without it, is under way in this repository."""
    remedy = "wait for its end or stop it: two runs of one repository wait for each other"
    running = [told for told in (_flow_run(root), _dvc_run(root)) if told]
    if running:
        yield Check("other runs", "warn", "; ".join(running), remedy)
    else:
        yield Check("other runs", "ok", "none")


def _flow_run(root: Path) -> str | None:
    try:
        with open(root / RUN_LOCK, encoding="utf-8") as file:
            try:
                # Held for an instant, and shared: a run that starts just then says so and ends.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return f"the flow ({file.read().strip() or 'another process'})"
    except FileNotFoundError:
        pass
    return None


def _dvc_run(root: Path) -> str | None:
    try:
        locks = json.loads((root / DVC_LOCK).read_text(encoding="utf-8"))
        holders = [
            holder
            for lock in locks.values()
            for holder in [lock.get("write"), *lock.get("read", [])]
            if holder
        ]
        alive = [holder for holder in holders if psutil.pid_exists(holder["pid"])]
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return None
    return f"{alive[0]['cmd']} (process {alive[0]['pid']})" if alive else None
