import signal

import pytest

from flows.stage_output import StageFailed, StageOutput


@pytest.mark.parametrize(
    ("status", "words", "worth"),
    [
        (1, ["params.yaml: x: unknown key"], False),
        (1, ["torch.OutOfMemoryError: CUDA out of memory."], True),
        (-signal.SIGKILL, [], True),
        (128 + signal.SIGKILL, [], True),
        (-signal.SIGTERM, [], False),
        (128 + signal.SIGINT, [], False),
        (255, ["ERROR: Unable to acquire lock."], False),
    ],
)
def test_what_is_worth_retrying(status: int, words: list[str], worth: bool) -> None:
    assert StageFailed("stage", status, words).worth_retrying is worth


def test_output_is_shortened_and_the_message_kept() -> None:
    output = StageOutput()
    lines = {
        "Running stage 'a':": "Running stage 'a':",
        "> python -m tasks.a": "> python -m tasks.a",
        "a warning of a library": "a warning of a library",
        "12:34:56 reading": "reading",
        "params.yaml: wrong": "params.yaml: wrong",
        "Use `dvc push` to send your updates to remote storage.": None,
        "ERROR: failed to reproduce 'a': failed to run: python -m tasks.a, exited with -9": None,
    }
    assert {line: output.read(line) for line in lines} == lines
    assert (output.outcome, output.exit_status) == ("ran", -9)
    assert output.last_words == ["params.yaml: wrong"]
