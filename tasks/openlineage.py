"""Runs of the pipeline as OpenLineage events: START and COMPLETE of each stage, with digests.

OpenLineage (openlineage.io, object model 2-0-2) is what catalogues such as Marquez and DataHub
read. Run ids come from the run and the stage, so events that are sent twice are the same events.
Nothing leaves this machine but where an endpoint is given. Imports no torch.
"""

import http.client
import json
import os
import urllib.request
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.croissant import software_version
from tasks.params import InputError
from tasks.revisions import LOCK, WORKSPACE, Revision, recorded_at
from tasks.run_records import read_runs

Json = dict[str, Any]

SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
VERSION_FACET = (
    "https://openlineage.io/spec/facets/1-0-1/DatasetVersionDatasetFacet.json"
    "#/$defs/DatasetVersionDatasetFacet"
)
PARENT_FACET = "https://openlineage.io/spec/facets/1-0-1/ParentRunFacet.json#/$defs/ParentRunFacet"
RUN_FACET = "urn:maskloom:facets:run:1"
"""Of our own facet: outcome, seconds, code revision and parameters of a stage."""
NAMESPACE = "maskloom"
FLOW = "synthesize"
ENDPOINT = "api/v1/lineage"
TIMEOUT = 10.0
"""Seconds for an endpoint to answer."""

_ENDS = {"ran": "COMPLETE", "restored": "COMPLETE", "failed": "FAIL", "cancelled": "ABORT"}
"""How a stage's outcome is called; one with nothing to do is no run."""


def events(root: Path = Path()) -> Iterator[Json]:
    """Two events for each stage of each run in the run log that did something, in time's order.

    Where the flow never ran, ``dvc repro`` made what is here: its stages then come from
    ``dvc.lock`` alone, at the time of the commit that holds them.

    Raises:
        InputError: there is no ``dvc.lock``.
    """
    here = Revision(WORKSPACE, None, root)
    found = False
    for run in read_runs(root):
        at = datetime.fromisoformat(run["started"])
        for stage in run["stages"]:
            end = at + timedelta(seconds=stage["seconds"])
            if stage["outcome"] in _ENDS and stage["stage"] in here.stages:
                found = True
                yield from _pair(here, run, stage, at, end)
            at = end
    if not found:
        yield from _from_lock(here)


def send(found: Iterable[Json], url: str) -> int:
    """Post each event to ``<url>/api/v1/lineage``; returns how many.

    ``OPENLINEAGE_API_KEY``, if it is set, goes along as a bearer token.

    Raises:
        InputError: the endpoint is no HTTP address, cannot be reached or refuses an event.
    """
    if not url.startswith(("http://", "https://")):
        raise InputError(f"--url: {url!r} is no http:// or https:// address")
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("OPENLINEAGE_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    endpoint = f"{url.rstrip('/')}/{ENDPOINT}"
    count = 0
    for event in found:
        body = json.dumps(event).encode()
        request = urllib.request.Request(endpoint, body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT):
                count += 1
        except (OSError, http.client.HTTPException) as error:
            told = " ".join(str(error).split())  # may be a line that is no HTTP, with its end
            raise InputError(
                f"--url: {endpoint} did not take event {count + 1} ({told}); is an OpenLineage "
                "server there? --out FILE writes the events instead"
            ) from None
    return count


def to_lines(found: Iterable[Json]) -> str:
    """The events as NDJSON, one a line."""
    return "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in found)


def run_id(run: str, stage: str) -> str:
    """The UUID of a stage's run: version 5, of the flow's run and the stage's name."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:maskloom:run:{run}:{stage}"))


def _pair(here: Revision, run: Json, stage: Json, at: datetime, end: datetime) -> Iterator[Json]:
    name = stage["stage"]
    outs = {out.path: run["outputs"].get(out.path) for out in here.outs_of(name)}
    same = all(here.outs[path].md5 == md5 for path, md5 in outs.items())
    inputs = {}
    for dep in here.deps_of(name):
        owner = here.owner(dep.path)
        # Of an earlier run only its outputs' digests are known; of the code, those of dvc.lock.
        known = run["outputs"].get(dep.path) if owner else None
        inputs[dep.path] = known or (dep.md5 if same else None)
    event: Json = {
        "run": {
            "runId": run_id(run["run_id"], name),
            "facets": {
                "parent": {
                    **_facet(PARENT_FACET),
                    "run": {"runId": _as_uuid(run["run_id"])},
                    "job": {"namespace": NAMESPACE, "name": FLOW},
                },
                "maskloom_stage": {
                    **_facet(RUN_FACET),
                    "outcome": stage["outcome"],
                    "seconds": stage["seconds"],
                    "revision": run.get("revision"),
                    "parameters": here.params(name) if same else None,
                },
            },
        },
        "job": {"namespace": NAMESPACE, "name": name, "facets": {}},
        "inputs": [_dataset(path, md5) for path, md5 in inputs.items()],
        "producer": _producer(),
        "schemaURL": SCHEMA,
    }
    yield {"eventType": "START", "eventTime": at.isoformat(), **event, "outputs": []}
    outputs = [_dataset(path, md5) for path, md5 in outs.items() if md5]
    kind = _ENDS[stage["outcome"]]
    yield {"eventType": kind, "eventTime": end.isoformat(), **event, "outputs": outputs}


def _from_lock(here: Revision) -> Iterator[Json]:
    """The stages of ``dvc.lock`` as one run of no length."""
    commit = recorded_at(here, list(here.outs))
    if commit:
        at = datetime.fromisoformat(commit["date"])
    else:
        at = datetime.fromtimestamp((here.root / LOCK).stat().st_mtime).astimezone()
    outputs = {path: out.md5 for path, out in here.outs.items()}
    digest = str(uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(outputs, sort_keys=True)))
    run = {"run_id": digest, "outputs": outputs, "revision": commit and commit["commit"]}
    for name in here.stages:
        yield from _pair(here, run, {"stage": name, "outcome": "ran", "seconds": 0.0}, at, at)


def _dataset(path: str, md5: str | None) -> Json:
    facets = {"version": {**_facet(VERSION_FACET), "datasetVersion": f"md5:{md5}"}} if md5 else {}
    return {"namespace": NAMESPACE, "name": path, "facets": facets}


def _facet(schema: str) -> Json:
    return {"_producer": _producer(), "_schemaURL": schema}


def _producer() -> str:
    return f"urn:maskloom:{software_version()}"


def _as_uuid(run: str) -> str:
    """A run's own id, where it is a UUID as Prefect's are, else one made from it."""
    try:
        return str(uuid.UUID(run))
    except ValueError:
        return run_id(run, FLOW)
