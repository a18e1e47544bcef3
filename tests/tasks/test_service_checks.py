import base64
import json
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_KEY,
    PREFECT_API_URL,
    temporary_settings,
)

from flows.run_log import only_run
from tasks import service_checks as services
from tasks.environment_checks import Check

SECRET = "me:right"


class Guarded(BaseHTTPRequestHandler):
    """Answers as a Prefect server with a name and a password does."""

    def do_POST(self) -> None:
        given = self.headers.get("Authorization", "")
        right = given == "Basic " + base64.b64encode(SECRET.encode()).decode()
        self.send_response((200 if self.path == "/api/flows/count" else 404) if right else 401)
        self.end_headers()
        self.wfile.write(b"3" if right else b"")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a guarded server."""
    found = HTTPServer(("127.0.0.1", 0), Guarded)
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    thread.join()
    found.server_close()


def prefect(url: str | None, auth: str | None = None) -> Check:
    restored = [PREFECT_API_AUTH_STRING, PREFECT_API_KEY]
    values = {PREFECT_API_URL: url} | ({PREFECT_API_AUTH_STRING: auth} if auth else {})
    with temporary_settings(
        {key: value for key, value in values.items() if value is not None},
        restore_defaults=[*restored, PREFECT_API_URL],
    ):
        (check,) = services.prefect_server()
    return check


def test_without_an_address_nothing_is_asked() -> None:
    check = prefect(None)
    assert check.state == "ok" and check.value.startswith("no server set")


def test_a_server_that_lets_us_in(server: str) -> None:
    check = prefect(f"{server}/api", SECRET)
    assert check == Check("Prefect", "ok", f"{server}/api answers; flows it knows: 3")


def test_a_missing_password_and_a_wrong_one_are_told_apart(server: str) -> None:
    none, wrong = prefect(f"{server}/api"), prefect(f"{server}/api", "me:wrong")
    assert none.state == wrong.state == "fail"
    assert none.value.endswith("asks for name and password; no name and password are set")
    assert wrong.value.endswith("it refuses those that are set")
    assert "PREFECT_API_AUTH_STRING" in none.remedy


def test_another_address_of_a_server_is_told(server: str) -> None:
    check = prefect(f"{server}/ui", SECRET)
    assert check.state == "fail" and "status 404" in check.value
    assert check.remedy.startswith("PREFECT_API_URL ends in /api")


def test_a_server_that_does_not_answer() -> None:
    check = prefect(f"http://127.0.0.1:{unused_port()}/api")
    assert check.state == "fail" and "does not answer" in check.value
    assert "make server" in check.remedy


def unused_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_ray_is_asked_only_where_it_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert list(services.ray_cluster(services.ray_address(None))) == []
    monkeypatch.setenv("RAY_ADDRESS", "ray://there:10001")
    assert services.ray_address(None) == "ray://there:10001"
    assert services.ray_address("ray://here:10001") == "ray://here:10001"
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        address = f"ray://127.0.0.1:{listening.getsockname()[1]}"
        assert list(services.ray_cluster(address)) == [Check("Ray", "ok", f"{address} answers")]
    (check,) = services.ray_cluster("ray://nowhere")
    assert check.state == "fail" and check.value.startswith("nothing answers at 'ray://nowhere'")


def test_a_run_of_the_flow_is_seen_and_not_disturbed(tmp_path: Path) -> None:
    assert list(services.other_run(tmp_path)) == [Check("other runs", "ok", "none")]
    with only_run(tmp_path):
        (check,) = services.other_run(tmp_path)
        assert check.state == "warn"
        assert check.value.startswith(f"the flow (process {os.getpid()} since ")
    assert list(services.other_run(tmp_path)) == [Check("other runs", "ok", "none")]


def test_a_run_of_dvc_is_seen_while_it_lives(tmp_path: Path) -> None:
    path = tmp_path / services.DVC_LOCK
    path.parent.mkdir(parents=True)
    holder = {"pid": os.getpid(), "cmd": "dvc repro"}
    path.write_text(json.dumps({"data/samples": {"write": holder}, "a": {"read": [holder]}}))
    (check,) = services.other_run(tmp_path)
    assert (check.state, check.value) == ("warn", f"dvc repro (process {os.getpid()})")
    path.write_text(json.dumps({"data/samples": {"write": holder | {"pid": 2**22 + 1}}}))
    assert [check.state for check in services.other_run(tmp_path)] == ["ok"]
