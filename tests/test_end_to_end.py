"""The whole graph at its smallest, in a clone: with DVC, through the flow, and with bad input."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from benchmarks.demo import QUICK, change_params

PIPELINE = yaml.safe_load((Path(__file__).parents[1] / "dvc.yaml").read_text())
STAGES = list(PIPELINE["stages"])
OUTPUTS = ("data", "metrics", "models", "plots", "report")
TRAINED = ("models/segmenter/weights.pth", "models/reference/weights.pth")


class House:
    """A clone with small parameters, and commands in it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def repro(self, *options: str) -> list[str]:
        """`dvc repro`; returns the stages that ran."""
        done = self.run("dvc", "repro", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return re.findall(r"^Running stage '(\w+)'", done.stdout, re.MULTILINE)

    def digests(self) -> dict[str, str]:
        """SHA-256 of every output file."""
        files = [path for top in OUTPUTS for path in (self.folder / top).rglob("*")]
        return {
            path.relative_to(self.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
            if path.is_file() and "storybook-sd" not in path.parts
        }

    def load(self, path: str) -> Any:
        return json.loads((self.folder / path).read_text())


@pytest.fixture(scope="module")
def house(clone: Callable[[str], Path], environment: dict[str, str]) -> House:
    """A clone in which `dvc repro` has run once."""
    folder = clone("end_to_end")
    for top in OUTPUTS:  # a fresh clone holds the metrics of the run that was committed
        for path in (folder / top).glob("*"):
            if path.name != "storybook-sd":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    (folder / "dvc.lock").unlink(missing_ok=True)
    change_params(folder, QUICK)
    house = House(folder, environment)
    assert house.repro() == STAGES
    return house


def test_every_stage_says_what_it_made(house: House) -> None:
    scores = house.load("metrics/scores.json")
    assert (scores["samples"], scores["not_finite"]) == (16, 0)
    funnel = house.load("metrics/filter.json")
    assert funnel["samples"] == funnel["kept"] == 16
    assert funnel["train"] + funnel["val"] == 16
    assert funnel["train"] > 0
    assert funnel["val"] > 0
    training = house.load("metrics/training.json")
    assert (training["iterations"], training["images"]) == (4, funnel["train"])
    assert house.load("metrics/reference_training.json")["images"] == 12
    evaluation = house.load("metrics/evaluation.json")
    assert evaluation["images"] == 6
    assert 0 <= evaluation["miou"] <= 1
    if reference := evaluation["reference_miou"]:  # next to nothing is learnt at this size
        assert evaluation["ratio"] == pytest.approx(evaluation["miou"] / reference, abs=0.01)
    assert list(evaluation["per_class"]) == house.load("data/dataset/classes.json")
    assert "<html" in (house.folder / "report/index.html").read_text()


def test_dvc_draws_the_plots(house: House, tmp_path: Path) -> None:
    done = house.run("dvc", "plots", "show", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""  # where a plot or its template is told to be missing
    page = (tmp_path / "index.html").read_text()
    titles = (next(iter(plot)) for plot in PIPELINE["plots"])
    assert all(f'"text": "{title}"' in page for title in (*titles, "Loss by iteration"))
    classes = house.load("data/dataset/classes.json")
    for network in ("synthetic", "reference"):
        assert page.count(f'"field": "{network}"') == len(classes)


def test_a_second_run_does_nothing(house: House) -> None:
    before = house.digests()
    assert house.repro() == ["preflight"]
    assert house.digests() == before


def test_a_changed_threshold_runs_what_comes_after_it(house: House) -> None:
    original = (house.folder / "params.yaml").read_text()
    change_params(house.folder, {"write_report": {"gallery": 5}})
    assert house.repro() == ["preflight", "write_report"]
    (house.folder / "params.yaml").write_text(original)
    assert house.repro() == ["preflight"]  # the page comes from the run cache


def test_the_flow_makes_the_same(house: House) -> None:
    """Everything again, from nothing and through Prefect: bytes, and tensors where times are in."""
    before, lock = house.digests(), (house.folder / "dvc.lock").read_text()
    weights = {path: torch.load(house.folder / path, weights_only=True) for path in TRAINED}
    shutil.rmtree(house.folder / ".maskloom")
    done = house.run("flows.synthesize", "--force")
    assert done.returncode == 0, done.stdout + done.stderr
    evaluation = house.load("metrics/evaluation.json")
    assert f"{evaluation['miou']:.3f}" in done.stdout
    assert str(house.folder / "report/index.html") in done.stdout

    after = house.digests()
    assert set(after) == set(before)
    differing = {path for path in before if after[path] != before[path]}
    assert not {path for path in differing if path.startswith("data/")}, differing
    for path, tensors in weights.items():
        again = torch.load(house.folder / path, weights_only=True)
        assert set(again) == set(tensors)
        assert all(torch.equal(again[name], tensors[name]) for name in tensors)
    if not differing:
        assert (house.folder / "dvc.lock").read_text() == lock

    (run,) = (house.folder / ".maskloom/runs.ndjson").read_text().splitlines()
    entry = json.loads(run)
    assert entry["state"] == "completed"
    assert [stage["stage"] for stage in entry["stages"]] == STAGES
    assert {stage["outcome"] for stage in entry["stages"]} == {"ran"}
    assert "data/dataset" in entry["outputs"]


def unlabelled_set(folder: Path) -> str:
    """A test set that has images and no labels."""
    images = folder / "mine/images"
    images.mkdir(parents=True, exist_ok=True)
    (folder / "mine/labels").mkdir(exist_ok=True)
    Image.new("RGB", (64, 64)).save(images / "one.png")
    return "mine"


def damaged_set(folder: Path) -> str:
    """A test set with an image that cannot be read."""
    for part, mode in (("images", "RGB"), ("labels", "L")):
        (folder / "hurt" / part).mkdir(parents=True, exist_ok=True)
        Image.new(mode, (64, 64)).save(folder / "hurt" / part / "one.png")
    path = folder / "hurt/images/one.png"
    path.write_bytes(path.read_bytes()[:40])
    return "hurt"


Change = Callable[[Path], dict[str, dict[str, Any]]]
BAD: dict[str, tuple[Change, str]] = {
    "unknown parameter": (
        lambda _: {"sample_images": {"guidence_scale": 7.5}},
        r"sample_images\.guidence_scale: unknown key.*did you mean 'guidance_scale'",
    ),
    "class without a phrase": (
        lambda _: {"expand_prompts": {"classes": ["car", {"name": "boat", "phrases": []}]}},
        r"expand_prompts\.classes.*at least one phrase",
    ),
    "missing model": (
        lambda _: {"sample_images": {"model": "models/no-such-model"}},
        r"sample_images\.model.*models/no-such-model",
    ),
    "test set without labels": (
        lambda folder: {"evaluate_segmenter": {"test_set": unlabelled_set(folder)}},
        r"evaluate_segmenter\.test_set.*label",
    ),
    "unreadable image": (
        lambda folder: {"evaluate_segmenter": {"test_set": damaged_set(folder)}},
        r"evaluate_segmenter\.test_set.*one\.png",
    ),
    "prompt past the text encoder": (
        lambda _: {"expand_prompts": {"templates": ["a {}" + " on a road by the water" * 12]}},
        r"expand_prompts\.templates.*too long",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_stops_before_any_output_is_touched(house: House, case: str) -> None:
    make, message = BAD[case]
    check_refused(house, make, message, "dvc", "repro")


def test_bad_input_stops_the_flow_too(house: House) -> None:
    done = check_refused(house, *BAD["unknown parameter"], "flows.synthesize")
    assert done.returncode == 1


def check_refused(
    house: House, make: Change, message: str, *command: str
) -> subprocess.CompletedProcess[str]:
    original, before = (house.folder / "params.yaml").read_text(), house.digests()
    lock = (house.folder / "dvc.lock").read_bytes()
    try:
        change_params(house.folder, make(house.folder))
        done = house.run(*command)
    finally:
        (house.folder / "params.yaml").write_text(original)
    assert done.returncode not in (0, None), done.stdout
    assert re.search(message, done.stderr, re.DOTALL), done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert house.digests() == before
    assert (house.folder / "dvc.lock").read_bytes() == lock
    return done


def test_outputs_hold_no_machine_path(house: House) -> None:
    """The page and the metrics can be handed on: nothing in them says where they were made."""
    where = str(house.folder)
    for path in [*(house.folder / "metrics").iterdir(), house.folder / "report/index.html"]:
        assert where not in path.read_text()
