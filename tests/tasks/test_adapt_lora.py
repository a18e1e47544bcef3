"""Stage adapt_lora at toy size: off, a given adapter, a training, and what it writes of each."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks import adapt_lora, sample_sheets
from tasks.adapters import ADAPTER_FILE
from tasks.model_digest import model_digest
from tasks.params import InputError, Params
from tasks.records import read_json, write_json

Make = Callable[..., Params]


@pytest.fixture(autouse=True)
def quick_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of one step."""
    monkeypatch.setattr(sample_sheets, "STEPS", 1)


@pytest.fixture
def root(tmp_path: Path, toy_folders: dict[str, Path]) -> Path:
    """A repository root with five images and what preflight writes."""
    digest = model_digest(str(toy_folders["1.x"]), tmp_path)
    write_json(tmp_path / "data/inputs/model.json", {"digest": digest})
    reference = {"words": {"dog": "dog", "tree": "oak"}, "places": {"tree": "by an {}"}}
    write_json(tmp_path / "data/inputs/reference.json", reference)
    (tmp_path / "own").mkdir()
    for number in range(5):
        pixels = np.full((64, 64, 3), 40 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"own/{number}.png")
    return tmp_path


@pytest.fixture
def make(make_params: Make, toy_folders: dict[str, Path]) -> Make:
    def with_changes(**changes: Any) -> Params:
        values = {
            "adapter": "train",
            "images": "own",
            "template": "an oak",
            "batch_size": 2,
            "steps": 2,
            "eval_interval": 1,
            "learning_rate": 0.01,
            "warmup": 0,
            "dtype": "float32",
        } | changes
        sampling = {"sample_images.model": str(toy_folders["1.x"])}
        return make_params(sampling | {f"adapt_lora.{key}": v for key, v in values.items()})

    return with_changes


def files(root: Path) -> set[str]:
    folder = root / "models/lora"
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}


def test_off_it_says_so_and_clears_what_was_there(make: Make, root: Path) -> None:
    (root / "models/lora").mkdir(parents=True)
    (root / "models/lora" / ADAPTER_FILE).touch()
    adapt_lora.run(make(adapter="none"), root)
    assert files(root) == {"adapter.json"}
    assert read_json(root / "models/lora/adapter.json") == {"source": "none", "digest": None}
    assert read_json(root / "metrics/adaptation.json") == {
        "held_out_loss_before": None,
        "held_out_loss_after": None,
        "fall": None,
        "steps": None,
        "images": None,
    }


def test_a_training_leaves_its_adapter_record_and_measurement(make: Make, root: Path) -> None:
    adapt_lora.run(make(), root)
    sheets = {f"sheets/sheet-{step:05d}.png" for step in range(3)}
    assert files(root) == {ADAPTER_FILE, "adapter.json", "training.json"} | sheets
    record = read_json(root / "models/lora/adapter.json")
    weights = (root / "models/lora" / ADAPTER_FILE).read_bytes()
    assert (record["source"], record["base"]) == (
        "trained",
        read_json(root / "data/inputs/model.json")["digest"],
    )
    assert record["digest"] == hashlib.sha256(weights).hexdigest()
    assert (record["rank"], record["alpha"], record["layers"]) == (8, 8.0, ["self", "cross"])
    assert record["images"] == [
        {
            "name": f"{number}.png",
            "digest": hashlib.sha256((root / f"own/{number}.png").read_bytes()).hexdigest(),
            "caption": "an oak",
        }
        for number in range(5)
    ]
    measured = read_json(root / "metrics/adaptation.json")
    training = read_json(root / "models/lora/training.json")
    losses = dict(training["held_out"])
    assert measured["held_out_loss_before"] == losses[0]
    assert measured["held_out_loss_after"] == min(losses.values())
    fall = 1 - min(losses.values()) / losses[0]
    assert measured["fall"] == pytest.approx(fall, abs=1e-4)
    assert (measured["steps"], measured["images"]) == (2, 4)


def test_another_scale_trains_nothing_anew(make: Make, root: Path) -> None:
    adapt_lora.run(make(), root)
    folder = root / "models/lora"
    before = {name: (folder / name).read_bytes() for name in files(root)}
    adapt_lora.run(make(scale=0.5), root)
    assert {name: (folder / name).read_bytes() for name in files(root)} == before


def test_class_lists_become_captions_by_the_runs_words(make: Make, root: Path) -> None:
    lists = {f"{number}.png": ["dog", "tree"][: number % 3] for number in range(5)}
    (root / "lists.json").write_text(json.dumps(lists))
    adapt_lora.run(make(captions="lists.json", template="a {}", steps=1), root)
    images = read_json(root / "models/lora/adapter.json")["images"]
    captions = ["", "a dog", "a dog by an oak", "", "a dog"]
    assert [image["caption"] for image in images] == captions


def test_a_given_adapter_is_taken_over(make: Make, root: Path) -> None:
    adapt_lora.run(make(steps=1), root)
    given = (root / "models/lora" / ADAPTER_FILE).replace(root / "street.safetensors")
    weights = given.read_bytes()
    adapt_lora.run(make(adapter="street.safetensors", images="none"), root)
    assert files(root) == {ADAPTER_FILE, "adapter.json"}
    assert (root / "models/lora" / ADAPTER_FILE).read_bytes() == weights
    assert read_json(root / "models/lora/adapter.json") == {
        "source": "street.safetensors",
        "digest": hashlib.sha256(weights).hexdigest(),
        "base": read_json(root / "data/inputs/model.json")["digest"],
    }
    assert read_json(root / "metrics/adaptation.json")["fall"] is None


def test_images_of_the_graph_are_checked_when_they_are_there(make: Make, root: Path) -> None:
    """What preflight cannot see: it runs before they are made."""
    with pytest.raises(InputError, match="gives 5 images, of which val_share holds 1 out: fewer"):
        adapt_lora.run(make(batch_size=5), root)
    (root / "lists.json").write_text(json.dumps({"0.png": ["cat"]}))
    with pytest.raises(InputError, match=r"classes that are not in .*: 'cat' \(0\.png\); there a"):
        adapt_lora.run(make(captions="lists.json", template="a {}"), root)


def test_images_that_preflight_has_not_seen(root: Path, make: Make) -> None:
    write_json(root / "data/inputs/reference.json", {"source": "none"})
    with pytest.raises(
        InputError, match=r"reference\.json is of other .*run `dvc repro adapt_lora`"
    ):
        adapt_lora.run(make(), root)


def test_a_base_model_that_changed_since_preflight(root: Path, make: Make) -> None:
    write_json(root / "data/inputs/model.json", {"digest": "b" * 64})
    with pytest.raises(InputError, match=r"instead of bbbb.*; run `dvc repro adapt_lora`"):
        adapt_lora.run(make(), root)
