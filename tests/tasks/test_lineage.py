import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.lineage_state import record
from tasks.lineage import app
from tasks.records import SCORES, read_rows, write_table

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(lineage_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose pipeline has run, as the current folder, on a wide terminal."""
    monkeypatch.chdir(lineage_root)
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.delenv("OPENLINEAGE_URL", raising=False)
    return lineage_root


def run(*arguments: str) -> None:
    app(arguments, result_action="return_value")


def first_samples(root: Path) -> list[str]:
    return [row["sample_id"] for row in read_rows(root / "data/samples/index.parquet")]


def test_explain_answers_where_from_and_why(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("explain", first_samples(here)[1])
    said = capsys.readouterr().out
    assert "a <script>alert('1')</script> [red]poodle[/red]\\nand a \\x1b[31mcar" in said
    assert "REJECTED: dog: area 0.010 below min_area 0.04" in said
    (area,) = (" ".join(line.split()) for line in said.splitlines() if line.startswith("│ area"))
    assert area == "│ area │ min_area 0.04, max_area 0.8 │ 0.0100 BROKEN │"
    assert "models/storybook-sd, SHA-256 abab" in said
    assert "oewn-02116078-n" in said
    assert "the first state" in said
    assert "\x1b" not in said
    run("explain", first_samples(here)[0])
    said = capsys.readouterr().out
    assert "KEPT, split " in said and "every rule of filter_masks holds" in said
    assert "min_peak 0.05" in said and "BROKEN" not in said


def test_json_is_for_machines(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = first_samples(here)[1]
    for arguments, key in (
        (("explain", sample), "verdict"),
        (("trace", "models/segmenter"), "made_by"),
        (("diff", "HEAD"), "samples"),
        (("check",), "findings"),
    ):
        run(*arguments, "--json")
        assert key in json.loads(capsys.readouterr().out)


def test_json_has_no_word_for_nan(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = here / "data/scores/index.parquet"
    rows = read_rows(path)
    rows[1] |= {"dark": float("nan"), "contrast": float("inf")}
    write_table(path, rows, SCORES)
    run("explain", rows[1]["sample_id"], "--json")
    scores = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["scores"]
    assert scores["dark"] is None and scores["contrast"] is None


def test_trace_and_diff_for_people(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("trace", "models/segmenter")
    said = capsys.readouterr().out
    assert "made by train_segmenter" in said and "prompts: 6" in said
    assert "made by sample_images, see above" in said
    run("diff", "HEAD")
    assert "Samples: 6 -> 6; 0 added, 0 removed, 0 changed" in capsys.readouterr().out
    run("diff", "HEAD", "--page", "week/page.html")
    assert capsys.readouterr().out == "week/page.html\n"
    page = (here / "week/page.html").read_text()
    assert "Every sample is the same." in page and "From <b>HEAD</b>" in page


def test_check_ends_with_status_1_and_names_the_sample(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("check")
    assert "all is whole" in capsys.readouterr().out
    row = read_rows(here / "data/samples/index.parquet")[2]
    shard = here / row["shard"]
    data = bytearray(shard.read_bytes())
    data[row["attention_offset"]] ^= 1
    shard.write_bytes(data)
    with pytest.raises(SystemExit) as ended:
        run("check")
    assert ended.value.code == 1
    said = capsys.readouterr().out
    assert "NOT whole" in said and row["sample_id"] in said and row["shard"] in said


def test_standards_go_to_files(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("croissant", "--name", "mine")
    assert json.loads((here / "croissant.json").read_text())["name"] == "mine"
    run("openlineage", "--out", "events.ndjson")
    written = (here / "events.ndjson").read_text()
    capsys.readouterr()
    run("openlineage")
    assert capsys.readouterr().out == written
    sent: list[tuple[int, str]] = []

    def send(events: list[Any], url: str) -> int:
        sent.append((len(events), url))
        return len(events)

    monkeypatch.setattr("tasks.openlineage.send", send)
    run("openlineage", "--out", "events.ndjson")
    assert sent == []
    monkeypatch.setenv("OPENLINEAGE_URL", "http://catalogue")
    run("openlineage", "--out", "events.ndjson")
    assert sent == [(len(written.splitlines()), "http://catalogue")]


def test_a_mistake_is_one_message_and_status_1(here: Path) -> None:
    command = [sys.executable, "-m", "tasks.lineage", "explain", "nothing"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("sample 'nothing': there is none in data/samples/index.parquet")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["explain", "diff"])
def test_it_starts_without_torch_and_pandas(here: Path, command: str) -> None:
    """Where rules ask for quantiles, too: of each class, and of the image."""
    params = yaml.safe_load((here / "params.yaml").read_text())
    params["filter_masks"] |= {key: {"quantile": 0.1} for key in ("min_area", "min_contrast")}
    (here / "params.yaml").write_text(yaml.safe_dump(params))
    record(here)
    arguments = {"explain": ("explain", first_samples(here)[0]), "diff": ("diff", "HEAD", "HEAD")}
    code = (
        "import sys\nfrom tasks.lineage import app\n"
        f"app({arguments[command]!r}, result_action='return_value')\n"
        "assert not {'torch', 'pandas'} & set(sys.modules)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=here, env=env, check=True, capture_output=True)
