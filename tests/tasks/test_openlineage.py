import json
import threading
import uuid
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tasks.openlineage import events, run_id, send, to_lines
from tasks.params import InputError
from tasks.revisions import WORKSPACE, Revision

RUN = "0a6e1f1e-7d4e-4a55-9d3e-7b0f7c5c4d11"


@pytest.fixture
def logged_root(lineage_root: Path) -> Path:
    """A repository with a run of the flow: one stage had nothing to do, two ran, one failed."""
    outs = Revision(WORKSPACE, None, lineage_root).outs
    run = {
        "run_id": RUN,
        "started": "2026-01-01T00:00:00+01:00",
        "ended": "2026-01-01T00:01:00+01:00",
        "state": "failed",
        "host": "h",
        "revision": "r",
        "stages": [
            {"stage": "expand_prompts", "outcome": "unchanged", "seconds": 1.0},
            {"stage": "sample_images", "outcome": "ran", "seconds": 30.0},
            {"stage": "extract_masks", "outcome": "restored", "seconds": 2.0},
            {"stage": "filter_masks", "outcome": "failed", "seconds": 0.5},
        ],
        "outputs": {path: out.md5 for path, out in outs.items()},
    }
    (lineage_root / ".maskloom").mkdir(exist_ok=True)
    (lineage_root / ".maskloom/runs.ndjson").write_text(json.dumps(run) + "\n")
    return lineage_root


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[str, dict[str, Any], str | None]]]]:
    """An HTTP server on this machine: its address, and what it was sent (path, event, token)."""
    received: list[tuple[str, dict[str, Any], str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, json.loads(body), self.headers["Authorization"]))
            if "hang-up" in self.path:
                return
            if "garbled" in self.path:
                self.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
                return
            self.send_response(400 if "refuse" in self.path else 201)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    http = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}", received
    http.shutdown()
    thread.join()
    http.server_close()


def assert_valid(event: dict[str, Any]) -> None:
    """What the RunEvent of OpenLineage 2-0-2 requires, its datasets and facets too."""
    assert {"eventTime", "producer", "schemaURL", "run", "job"} <= set(event)
    assert event["eventType"] in ("START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER")
    assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
    assert event["schemaURL"].endswith("OpenLineage.json#/$defs/RunEvent")
    assert str(uuid.UUID(event["run"]["runId"])) == event["run"]["runId"]
    assert event["job"]["namespace"] and event["job"]["name"]
    owners = [event["run"], event["job"], *event["inputs"], *event["outputs"]]
    assert all(one["namespace"] and one["name"] for one in event["inputs"] + event["outputs"])
    for owner in owners:
        for facet in owner["facets"].values():
            assert ":" in facet["_producer"] and ":" in facet["_schemaURL"]


def test_each_stage_that_did_something_starts_and_ends(logged_root: Path) -> None:
    found = list(events(logged_root))
    for event in found:
        assert_valid(event)
    assert [(event["job"]["name"], event["eventType"]) for event in found] == [
        ("sample_images", "START"),
        ("sample_images", "COMPLETE"),
        ("extract_masks", "START"),
        ("extract_masks", "COMPLETE"),
        ("filter_masks", "START"),
        ("filter_masks", "FAIL"),
    ]
    assert [event["eventTime"] for event in found[:3]] == [
        "2026-01-01T00:00:01+01:00",
        "2026-01-01T00:00:31+01:00",
        "2026-01-01T00:00:31+01:00",
    ]


def test_inputs_and_outputs_carry_their_digests(logged_root: Path) -> None:
    lock = Revision(WORKSPACE, None, logged_root)
    complete = list(events(logged_root))[1]
    versions = {
        one["name"]: one["facets"]["version"]["datasetVersion"]
        for one in complete["inputs"] + complete["outputs"]
    }
    assert versions["data/samples"] == f"md5:{lock.outs['data/samples'].md5}"
    assert versions["data/prompts.parquet"] == f"md5:{lock.outs['data/prompts.parquet'].md5}"
    code = {dep.path: dep.md5 for dep in lock.deps_of("sample_images")}
    assert versions["tasks/sample_images.py"] == f"md5:{code['tasks/sample_images.py']}"
    assert [one["name"] for one in complete["outputs"]] == ["data/samples"]
    stage = complete["run"]["facets"]["maskloom_stage"]
    assert stage["parameters"]["sample_images"]["guidance_scale"] == 2.5


def test_run_ids_are_the_same_every_time(logged_root: Path) -> None:
    first, second = (list(events(logged_root)) for _ in range(2))
    assert first == second
    assert first[0]["run"]["runId"] == first[1]["run"]["runId"] == run_id(RUN, "sample_images")
    assert len({event["run"]["runId"] for event in first}) == 3
    assert first[0]["run"]["facets"]["parent"]["run"]["runId"] == RUN


def test_without_the_flow_the_lock_tells(lineage_root: Path) -> None:
    found = list(events(lineage_root))
    for event in found:
        assert_valid(event)
    jobs = [event["job"]["name"] for event in found[::2]]
    assert jobs == list(Revision(WORKSPACE, None, lineage_root).stages)
    assert {event["eventType"] for event in found} == {"START", "COMPLETE"}
    assert list(events(lineage_root)) == found


def test_lines_are_one_event_each(logged_root: Path) -> None:
    found = list(events(logged_root))
    assert [json.loads(line) for line in to_lines(found).splitlines()] == found


def test_a_server_receives_them(
    logged_root: Path, server: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, received = server
    found = list(events(logged_root))
    assert send(found, f"{url}/") == 6
    assert [event for _, event, _ in received] == found
    assert {(path, token) for path, _, token in received} == {("/api/v1/lineage", None)}
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "secret")
    send(found[:1], url)
    assert received[-1][2] == "Bearer secret"


def test_an_endpoint_that_refuses_or_is_not_there(
    logged_root: Path, server: tuple[str, list[Any]]
) -> None:
    url, _ = server
    found = list(events(logged_root))
    with pytest.raises(InputError, match=r"did not take event 1 \(HTTP Error 400"):
        send(found, f"{url}/refuse")
    for path in ("hang-up", "garbled"):
        with pytest.raises(InputError, match=r"did not take event 1 .* --out FILE"):
            send(found, f"{url}/{path}")
    with pytest.raises(InputError, match=r"did not take event 1 .* --out FILE"):
        send(found, "http://127.0.0.1:9")
    with pytest.raises(InputError, match="is no http:// or https:// address"):
        send(found, "file:///etc/passwd")
