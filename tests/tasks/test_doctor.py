"""Everything is looked at, whatever is wrong; what is there is shown, what is not has a remedy."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from tasks import environment_checks as environment
from tasks.diagnosis import Diagnosis, as_json, show
from tasks.doctor import diagnose, main, refused, trial
from tasks.environment_checks import Check
from tasks.input_checks import SUBJECTS
from tasks.params import InputError, Params, load_params
from tasks.throughput import read_measured

ROOT = Path(__file__).parents[2]
CLASSES = ("car", "boat", "tree", "house", "bird", "fish", "dog", "flower")
ENVIRONMENT = ["Python", "packages", "C++ compiler"]
AFTER = ["estimate", "memory", "disk", "Prefect", "other runs", "git", "DVC cache", "DVC remote"]

Write = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path, model_folder: Path, training_root: Path) -> Path:
    """A repository that holds a model and a config."""
    shutil.copyfile(training_root / "tiny.py", tmp_path / "tiny.py")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_bytes((ROOT / ".dvc/config").read_bytes())
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "tiny.py"], [*author, "commit", "-qm", "a"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


@pytest.fixture
def write(make_params: Callable[..., Params], root: Path) -> Write:
    """Writes parameters that fit ``root``, with some dotted keys changed."""

    def with_changes(changes: dict[str, Any] | None = None) -> Path:
        fitting = {
            "sample_images.model": "model",
            "train_segmenter.config": "tiny.py",
            "expand_prompts.images_per_class": 5,
            "expand_prompts.templates": ["a {}"],
            "expand_prompts.several_share": 0.0,
            "expand_prompts.classes": [
                {"name": name, "synonyms": [], "hyponyms": []} for name in CLASSES
            ],
        }
        params = make_params(fitting | (changes or {}))
        path = root / "params.yaml"
        path.write_text(yaml.safe_dump(params.model_dump(mode="json")))
        return path

    return with_changes


@pytest.fixture(autouse=True)
def quick_dvc(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC is asked once; each time takes seconds, and it is tested beside its own check."""
    if request.function is not test_all_is_there:
        rows = [Check("DVC cache", "ok", ""), Check("DVC remote", "ok", "")]
        monkeypatch.setattr(environment, "dvc_state", lambda _root: rows)


def states(found: Diagnosis) -> dict[str, str]:
    return {check.name: check.state for check in found.checks}


def test_all_is_there(write: Write, root: Path) -> None:
    found = diagnose(write(), root)
    assert [check for check in found.checks if check.state == "fail"] == []
    names = [check.name for check in found.checks]
    assert names[:3] == ENVIRONMENT and names[-len(AFTER) :] == AFTER
    assert [name for name in names if name in SUBJECTS] == list(SUBJECTS)
    assert [cost.stage for cost in found.costs] == [*Params.model_fields, "together"]
    assert not found.failed and as_json(found)["ok"] is True
    assert not (root / "metrics").exists() and not (root / "data").exists()


def test_the_checks_of_preflight_are_shown_with_their_remedies(write: Write, root: Path) -> None:
    changes = {
        "sample_images.model": "no/model",
        "evaluate_segmenter.test_set": "nowhere",
        "train_segmenter.config": "none.py",
        "sample_images.device": "cuda:7",
    }
    found = diagnose(write(changes), root)
    failed = {check.name: check for check in found.checks if check.state == "fail"}
    assert list(failed) == ["base model", "labelled sets", "network", "machine"]
    model = failed["base model"]
    assert model.value == (
        "sample_images.model: no/model is neither a folder nor a model in the hub's cache"
    )
    assert "https://huggingface.co/no/model" in model.remedy
    assert "`hf download no/model --include '*.json' " in model.remedy
    assert failed["machine"].value.startswith("sample_images.device: cuda:7 is not there")
    assert failed["machine"].remedy.startswith("choose auto or cpu")
    assert found.failed and [check.name for check in found.checks][-len(AFTER) :] == AFTER


def test_a_check_that_breaks_down_stops_no_other(
    write: Write, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Iterator[Check]:
        raise OSError("no such thing")

    monkeypatch.setattr(environment, "packages", broken)
    monkeypatch.setattr("tasks.input_checks.read_model", lambda _folder: 1 / 0)
    found = diagnose(write(), root)
    failed = {check.name: check.value for check in found.checks if check.state == "fail"}
    assert failed == {
        "packages": "could not be checked: OSError: no such thing",
        "base model": "ZeroDivisionError: division by zero",
    }
    assert states(found)["DVC cache"] in ("ok", "warn")


def test_parameters_that_break_a_rule_leave_the_rest_checked(write: Write, root: Path) -> None:
    path = write()
    path.write_text(path.read_text().replace("images_per_class: 5", "images_per_class: 0"))
    found = diagnose(path, root)
    failed = [check for check in found.checks if check.state == "fail"]
    assert [check.name for check in failed] == ["parameters"]
    assert "expand_prompts.images_per_class: " in failed[0].value
    assert {"Python", "Prefect", "git"} <= set(states(found)) and found.costs == []


def test_a_missing_class_list_hides_no_other_problem(write: Write, root: Path) -> None:
    path = write({"sample_images.model": "no/model", "expand_prompts.lexicon": "builtin"})
    raw = yaml.safe_load(path.read_text())
    raw["expand_prompts"] |= {"classes_file": "data/imagenet_s/list.txt", "classes": []}
    path.write_text(yaml.safe_dump(raw))
    found = diagnose(path, root)
    failed = {check.name: check for check in found.checks if check.state == "fail"}
    assert list(failed) == ["parameters", "base model"]
    assert "data/imagenet_s/list.txt: no such file" in failed["parameters"].value
    assert states(found)["estimate"] == "warn"


def test_a_trial_measures_and_the_estimate_goes_by_it(
    write: Write, root: Path, toy_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(toy_folders["1.x"], root / "toy")
    changes = {
        "sample_images.model": "toy",
        "sample_images.num_inference_steps": 30,
        "sample_images.batch_size": 2,
        "sample_images.capture.resolutions": None,
        "extract_masks.attn2mask.resolutions": None,
        "sample_images.dtype": "float32",
        "expand_prompts.classes": [
            {"name": "dog", "phrases": ["dog"], "synonyms": [], "hyponyms": []}
        ],
        "render_storybook.domain": "none",
        "train_reference.labelled_set": "none",
        "evaluate_segmenter.test_set": "none",
    }
    path = write(changes)
    before = {cost.stage: cost for cost in diagnose(path, root).costs}
    assert before["sample_images"].seconds is None
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    found = diagnose(path, root, measure=True)
    assert states(found)["sampling trial"] == "ok"
    (told,) = read_measured(root)
    assert (told.device, told.batch_size, told.guided) == ("cpu", 2, True)
    assert told.memory > 10**8
    expected = 5 * (told.seconds_per_image + 30 * told.seconds_per_step)
    after = {cost.stage: cost for cost in found.costs}
    assert after["sample_images"].seconds == pytest.approx(expected)
    assert after["sample_images"].basis.startswith("measured here: tasks.doctor --measure")
    monkeypatch.setattr(os, "getloadavg", lambda: (1e6, 0.0, 0.0))
    busy = next(c for c in trial(load_params(path), root) if c.name == "sampling trial")
    assert busy.state == "warn" and "beside other programs (load 1000000.0 on " in busy.value


def test_the_tables_show_state_value_remedy_and_costs(write: Write, root: Path) -> None:
    found = diagnose(write({"sample_images.model": "no/model"}), root, gpu="A100")
    stream = io.StringIO()
    show(found, Console(file=stream, width=200))
    text = stream.getvalue()
    assert "Is everything there?" in text and "What the run takes, sampling on A100" in text
    rows = [line.split("│")[1:] for line in text.splitlines() if line.startswith("│")]
    row = next(row for row in rows if row[0].strip() == "base model")
    assert row[1].strip() == "fail" and "no/model is neither" in row[2]
    sampling = next(row for row in rows if row[0].strip() == "sample_images")
    assert sampling[1].strip() == "?"
    assert sampling[4].strip() == "not known: measure with `python -m tasks.doctor --measure`"
    assert states(found)["estimate"] == "warn"
    memory = next(check for check in found.checks if check.name == "memory")
    assert "the run needs 6.0 GB" in memory.value  # the report's 0.5 GB alone are known


def test_only_gpus_with_figures_are_reckoned_with() -> None:
    told = r"--gpu: nothing is known of 'B9000' to reckon with; there are: A100, 4090, 3090, V100,"
    with pytest.raises(InputError, match=told):
        main(gpu="B9000")


def test_a_message_is_split_into_value_and_remedy() -> None:
    assert refused("disk", "disk: too small; make room; or less") == Check(
        "disk", "fail", "disk: too small", "make room; or less"
    )
    assert refused("disk", "full").remedy == ""


def test_the_command_prints_json_and_ends_with_status_1(write: Write, root: Path) -> None:
    write({"sample_images.model": "no/model"})
    done = subprocess.run(
        [sys.executable, "-m", "tasks.doctor", "--json"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"] is False
    assert [c["name"] for c in found["checks"] if c["state"] == "fail"] == ["base model"]
    assert set(found["checks"][0]) == {"name", "state", "value", "remedy"}
    assert found["costs"][-1]["stage"] == "together"
