import io
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

import tasks.progress
from flows import artifacts
from flows.artifacts import ProgressBar, key, number_rows, outputs_markdown
from flows.results import StageRun
from tasks.progress import progress


def test_keys_are_as_prefect_wants_them() -> None:
    assert key("sample_images", "progress") == "sample-images-progress"


def test_progress_follows_the_stages_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    moved: list[float] = []

    def update(_artifact: Any, percent: float) -> None:
        moved.append(percent)

    monkeypatch.setattr(artifacts, "create_progress_artifact", lambda *_: UUID(int=1))
    monkeypatch.setattr(artifacts, "update_progress_artifact", update)
    monkeypatch.setattr(tasks.progress, "sys", SimpleNamespace(stderr=io.StringIO()))
    monkeypatch.setattr(tasks.progress, "LOG_SECONDS", 0.0)  # a line for each advance
    caplog.set_level("INFO")
    with progress("sampling", 120, "images") as advance:
        for count in (30, 0, 30):
            advance(count, "loss 0.25: falling")
    assert len(caplog.messages) == 4 and " of 120 images, " in caplog.messages[0]
    bar = ProgressBar("sample_images")
    for line in ("Running stage 'sample_images':", *caplog.messages):
        bar.read(line)
    assert moved == [25.0, 50.0]


def test_a_server_that_does_not_answer_costs_only_the_bar(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([ConnectionError("gone"), None])
    moved: list[float] = []

    def update(_artifact: Any, percent: float) -> None:
        if error := next(answers):
            raise error
        moved.append(percent)

    monkeypatch.setattr(artifacts, "create_progress_artifact", lambda *_: UUID(int=1))
    monkeypatch.setattr(artifacts, "update_progress_artifact", update)
    bar = ProgressBar("sample_images")
    for percent in (25.0, 50.0):
        bar.move(percent)
    assert moved == [50.0] and caplog.messages == ["the server does not show the progress: gone"]

    def refuse(*_: Any) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(artifacts, "create_progress_artifact", refuse)
    ProgressBar("sample_images").move(25.0)
    assert len(caplog.messages) == 2 and moved == [50.0]


def test_numbers_are_rows_by_dotted_name() -> None:
    numbers = {"miou": 0.5, "per_class": {"car": 0.7}, "not_measured": ["a"], "reference": None}
    assert number_rows(numbers) == [
        {"name": "miou", "value": 0.5},
        {"name": "per_class.car", "value": 0.7},
        {"name": "reference", "value": None},
    ]


def test_outputs_are_named_with_their_digests() -> None:
    text = outputs_markdown(StageRun("filter_masks", "ran", 1.25), {"data/dataset": "abc.dir"})
    assert text.startswith("**filter_masks** ran in 1.2 s\n")
    assert text.endswith("| `data/dataset` | `abc.dir` |")
