"""What the user sees when a stage cannot go on."""

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tasks import entry
from tasks.entry import maker_of, run_stage
from tasks.params import InputError, Params


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, make_params: Callable[..., Params]) -> None:
    monkeypatch.setattr(entry, "load_params", make_params)


def fail(error: Exception) -> Callable[[Params], None]:
    def run(_params: Params) -> None:
        raise error

    return run


@pytest.mark.usefixtures("stage")
def test_a_users_error_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_stage(fail(InputError("key: rule, value; remedy")))
    assert ended.value.code == 1
    assert capsys.readouterr().err == "key: rule, value; remedy\n"


@pytest.mark.usefixtures("stage")
@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "raise the quota"),
        (errno.EROFS, "mount it for writing"),
        (errno.EACCES, "the right to read it, or to write there"),
    ],
)
def test_a_disk_that_cannot_be_written_is_one_message(
    capsys: pytest.CaptureFixture[str], code: int, remedy: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_stage(fail(OSError(code, os.strerror(code), "data/samples/a.tar")))
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith(f"disk: {os.strerror(code)} (data/samples/a.tar); ")
    assert remedy in told and told.endswith("run again: what is finished is kept\n")


GRAPH = """
stages:
  first:
    outs: [data/first]
    metrics: [metrics/first.json: {cache: false}]
  test_entry:
    deps: [data/first/index.parquet, metrics/first.json, tasks/entry.py]
"""


@pytest.mark.usefixtures("stage")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        # As pyarrow raises it: neither an errno nor a filename.
        (FileNotFoundError("Failed to open local file"), ""),
        (InputError("data/first: no such folder"), "data/first: no such folder\n"),
    ],
    ids=["of-a-library", "of-a-check"],
)
def test_a_missing_input_names_what_makes_it(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: Exception,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(GRAPH)
    Path("metrics").mkdir()
    Path("metrics/first.json").touch()
    with pytest.raises(SystemExit) as ended:
        run_stage(fail(error))
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        f"{said}data/first/index.parquet is missing: run `dvc repro test_entry`, which makes what "
        "the stage reads first\n"
    )


@pytest.mark.usefixtures("stage")
def test_a_preview_tells_its_errors_as_a_stage_does(capsys: pytest.CaptureFixture[str]) -> None:
    def show(_params: Params, settings: tuple[str, ...]) -> None:
        raise InputError(f"{settings[0]}: unknown")

    with pytest.raises(SystemExit) as ended:
        run_stage(partial(show, settings=("min_aera=1",)))
    assert ended.value.code == 1
    assert capsys.readouterr().err == "min_aera=1: unknown\n"


def test_what_lies_in_an_output_is_of_its_stage() -> None:
    makers = {"models/lora": "adapt_lora", "data/prompts.parquet": "expand_prompts"}
    assert maker_of("models/lora/adapter.json", makers) == "adapt_lora"
    assert maker_of("data/prompts.parquet", makers) == "expand_prompts"
    assert maker_of("models/lora.json", makers) is None


@pytest.mark.usefixtures("stage")
def test_the_programs_own_errors_stay_as_they_are() -> None:
    with pytest.raises(FileNotFoundError):
        run_stage(fail(FileNotFoundError(errno.ENOENT, "No such file", str(Path("x")))))
    with pytest.raises(ZeroDivisionError):
        run_stage(fail(ZeroDivisionError()))
