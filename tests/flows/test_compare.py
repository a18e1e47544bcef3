"""The flow ``compare`` on a toy pipeline, real DVC and real Prefect."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from flows.compare import RunFailed, app, compare, main, read_metric
from flows.grid_checks import checked, left_out
from tasks.params import InputError

ROOT = Path(__file__).parents[2]

PIPELINE = """
stages:
  sample_images:
    cmd: python run.py sample_images
    deps: [run.py]
    params: [expand_prompts.seed, sample_images]
    outs: [data/samples]
  train_segmenter:
    cmd: python run.py train_segmenter
    deps: [run.py, data/samples]
    params: [train_segmenter]
    outs: [models/segmenter]
  evaluate_segmenter:
    cmd: python run.py evaluate_segmenter
    deps: [run.py, models/segmenter]
    metrics:
      - metrics/evaluation.json:
          cache: false
"""
RUN = """
import json, os, pathlib, sys, yaml
stage = sys.argv[1]
params = yaml.safe_load(open("params.yaml"))
with open({log!r}, "a") as log:
    log.write(stage + "\\n")
train = params["train_segmenter"]
if stage == "sample_images":
    pathlib.Path("data/samples").mkdir(parents=True)
    pathlib.Path("data/samples/x").write_text(str(params["expand_prompts"]["seed"]))
elif stage == "train_segmenter":
    if train["iterations"] == 666:
        sys.exit("the network burst")
    seed = int(pathlib.Path("data/samples/x").read_text())
    pathlib.Path("models/segmenter").mkdir(parents=True)
    pathlib.Path("models/segmenter/x").write_text(str(train["iterations"] / 1000 + seed / 10))
else:
    value = float(pathlib.Path("models/segmenter/x").read_text())
    pathlib.Path("metrics").mkdir(exist_ok=True)
    json.dump({{"miou": value, "none": None}}, open("metrics/evaluation.json", "w"))
"""
GRID = """
title: Longer is better
seeds: [0, 1]
also: {none: evaluation.none}
settings:
  short: {train_segmenter: {iterations: 250}}
  long: {train_segmenter: {iterations: 500}}
claims:
  - {setting: long, above: short, by: 0.2}
"""


@pytest.fixture
def house(toy: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy repository with a pipeline that takes parameters, and a grid."""
    (toy / "dvc.yaml").write_text(PIPELINE)
    (toy / "run.py").write_text(RUN.format(log=str(toy / "stages.log")))
    (toy / ".gitignore").write_text("/data\n/models\n/metrics\n/.maskloom\n/comparisons\n/*.log\n")
    (toy / "presets/compare").mkdir(parents=True)
    preset = (ROOT / "presets/storybook.yaml").read_bytes()
    (toy / "presets/storybook.yaml").write_bytes(preset)
    (toy / "params.yaml").write_bytes(preset)
    (toy / "presets/compare/length.yaml").write_text(GRID)
    commit(toy)
    monkeypatch.chdir(toy)
    return toy


def commit(folder: Path) -> None:
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["add", "."], [*author, "commit", "-qm", "more"]):
        subprocess.run(["git", *command], cwd=folder, check=True)


def ran(house: Path) -> Counter[str]:
    """How often each stage has run since the last call."""
    log = house / "stages.log"
    found = Counter(log.read_text().split()) if log.exists() else Counter()
    log.unlink(missing_ok=True)
    return found


def test_a_grid_runs_each_stage_once_and_goes_on_where_it_was(house: Path) -> None:
    rows = compare("length", jobs=2).rows
    assert [(row["setting"], row["seed"], row["value"]) for row in rows] == [
        ("short", 0, 0.25), ("short", 1, 0.35), ("long", 0, 0.5), ("long", 1, 0.6),
    ]  # fmt: skip
    assert all(row["none"] is None for row in rows)
    assert ran(house) == {"sample_images": 2, "train_segmenter": 4, "evaluate_segmenter": 4}
    result = json.loads((house / "comparisons/length/result.json").read_text())
    assert result["claims"] == [
        {"name": "long above short", "value": 0.25, "bound": 0.2, "holds": True}
    ]
    assert result["table"][1]["gain"] == 0.25
    assert "| long | 0.55 |" in (house / "comparisons/length/table.md").read_text()

    assert compare("length", jobs=2).rows == rows
    assert ran(house) == {}

    # A setting more, and a commit that changes no stage: only what is new is computed.
    grid = yaml.safe_load(GRID)
    grid["settings"]["longer"] = {"train_segmenter": {"iterations": 750}}
    (house / "presets/compare/length.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))
    (house / "README.md").write_text("more to read")
    commit(house)
    assert [row["value"] for row in compare("length").rows][4:] == [0.75, 0.85]
    assert ran(house) == {"train_segmenter": 2, "evaluate_segmenter": 2}
    # The user's own tree is as it was.
    assert not (house / "data").exists() and not (house / "dvc.lock").exists()


def test_a_failed_run_leaves_the_others(house: Path) -> None:
    path = house / "presets/compare/length.yaml"
    path.write_text(GRID.replace("iterations: 500", "iterations: 666"))
    commit(house)
    with pytest.raises(RunFailed, match="long, seed 0: exit status 1\nthe network burst"):
        compare("length")
    table = (house / "comparisons/length/table.md").read_text()
    assert "| short | 0.3 |" in table and "| long above short | nan | 0.2 | NO |" in table
    assert ran(house) == {"sample_images": 2, "train_segmenter": 4, "evaluate_segmenter": 2}


def test_what_nobody_measured_is_not_compared(house: Path) -> None:
    grid = GRID.replace("also:", "measure: evaluation.none\nalso:").replace("[0, 1]", "[0]")
    (house / "presets/compare/length.yaml").write_text(grid)
    commit(house)
    with pytest.raises(RunFailed, match=r"short, seed 0: evaluation.none: is null, as .*`measure`"):
        compare("length")
    assert not (house / ".maskloom/compare/length.ndjson").exists()
    assert "No run is finished." in (house / "comparisons/length/table.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_grid_and_its_runs(house: Path, number: signal.Signals) -> None:
    asleep = "print('asleep', flush=True); import time; time.sleep(300)\n"
    (house / "run.py").write_text(RUN.format(log=str(house / "stages.log")) + asleep)
    commit(house)
    log = house / "compare.log"
    # What runs in the background of a shell ignores Ctrl-C, and so would what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(log, "w") as out:
        grid = subprocess.Popen(
            [sys.executable, "-m", "flows.compare", "--jobs", "2", "length"],
            cwd=house,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    deadline = time.monotonic() + 120
    while log.read_text().count("asleep") < 2:
        assert time.monotonic() < deadline and grid.poll() is None, log.read_text()
        time.sleep(0.2)
    grid.send_signal(number)
    assert grid.wait(30) in (128 + number, -number)
    commands = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline"))
    assert not [each for each in commands if str(house).encode() in each]
    told = log.read_text()
    assert re.search(r"Task run '\w+, seed \d' - asleep", told), told
    assert "HTTP Request" not in told


def test_a_wrong_value_is_told_before_anything_runs(house: Path) -> None:
    path = house / "presets/compare/length.yaml"
    path.write_text(GRID.replace("iterations: 500", "iterations: -1"))
    with pytest.raises(InputError, match=r"^long, seed 0: params.yaml:.*\n?.*iterations"):
        compare("length")
    assert ran(house) == {}


def test_what_is_not_committed_is_refused_or_told(
    house: Path,
) -> None:
    for name in ("presets/compare/length.yaml", "presets/storybook.yaml", "dvc.yaml"):
        text = (house / name).read_text()
        (house / name).write_text(f"{text}# more\n")
        with pytest.raises(InputError, match=f"as the commit holds it.*\n M {name}\ncommit it"):
            checked("length", house)
        (house / name).write_text(text)
    grid, preset = house / "presets/compare/Mine.new.yaml", house / "presets/mine.yaml"
    grid.write_text(f"{GRID}preset: mine\n")
    preset.write_bytes((house / "presets/storybook.yaml").read_bytes())
    with pytest.raises(InputError, match=r"\?\? presets/compare/Mine.new.yaml\n\?\? presets/mine"):
        checked("Mine.new", house)
    (house / "tasks").mkdir()
    for name in ("tasks/more.py", "notes.md"):
        (house / name).write_text("")
    (house / "run.py").write_text("")
    told = [" M run.py", "?? presets/compare/Mine.new.yaml", "?? presets/mine.yaml"]
    assert left_out(house) == [*told, "?? tasks/more.py"]


def test_masks_that_cannot_be_made_here_are_told_first(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pydensecrf" else find(name)
    )
    refined = "short: {extract_masks: {refine: crf}, "
    (house / "presets/compare/length.yaml").write_text(GRID.replace("short: {", refined))
    with pytest.raises(InputError, match=r"^short, seed 0: extract_masks.refine: .*`make crf`"):
        checked("length", house)


def test_a_failed_grid_leaves_the_others_and_any_name_will_do(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = GRID.replace("[0, 1]", "[0]")
    for name, text in (("a", one.replace("500", "666")), ("My.grid", one.replace("500", "501"))):
        (house / f"presets/compare/{name}.yaml").write_text(text)
    commit(house)
    with pytest.raises(RunFailed, match=r"^a: long, seed 0: exit status 1"):
        main("a", "My.grid")
    assert "long above short" in capsys.readouterr().out


def test_outside_of_git_the_remedy_is_told(house: Path) -> None:
    shutil.rmtree(house / ".git")
    with pytest.raises(InputError, match=r"has no commit, .* `git clone`"):
        compare("length")


def test_a_run_at_a_time_is_the_least(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app(["length", "--jobs", "0"])
    assert 'Invalid value "0" for --jobs. Must be > 0.' in "".join(capsys.readouterr())


def test_the_command_ends_with_1_where_a_claim_does_not_hold(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (house / "presets/compare/length.yaml").write_text(GRID.replace("by: 0.2", "by: 0.3"))
    commit(house)
    with pytest.raises(SystemExit) as end:
        main("length", keep=False)
    assert end.value.code == 1
    assert "long above short" in capsys.readouterr().out
    assert not list((house / ".maskloom/compare").glob("workspace-*"))
    main()
    assert "Longer is better" in capsys.readouterr().out


def test_a_number_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/evaluation.json").write_text('{"per_class": {"car": 0.5}}')
    assert read_metric(tmp_path, "evaluation.per_class.car") == 0.5
    for key in ("evaluation.per_class.cat", "evaluation.miou", "other.miou"):
        with pytest.raises(InputError, match=key):
            read_metric(tmp_path, key)


def test_what_is_no_number_is_named_with_one_that_may_be(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    held = '{"per_class": {"car": 0.5}, "none": {}, "trained": true, "test_set": "a"}'
    (tmp_path / "metrics/evaluation.json").write_text(held)
    with pytest.raises(InputError) as caught:
        read_metric(tmp_path, "evaluation.per_class")
    assert str(caught.value) == (
        "evaluation.per_class: metrics/evaluation.json holds no number there; name one, such as "
        "evaluation.per_class.car"
    )
    for key in ("evaluation.none", "evaluation.trained", "evaluation.test_set"):
        with pytest.raises(InputError, match=f"^{key}: .* holds no number there; name one$"):
            read_metric(tmp_path, key)
