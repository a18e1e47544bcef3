"""Grids: what a file says, which runs there are, and what they share."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.grids import Claim, Setting, cells, grid_names, merged, read_grid, waits
from flows.shared_stages import stage_keys
from tasks.params import InputError, load_params

ROOT = Path(__file__).parents[2]


def written(tmp_path: Path, text: str) -> Path:
    """A repository with this project's graph and presets, and one grid, "mine"."""
    for name in ("dvc.yaml", "presets/storybook.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "presets/compare").mkdir()
    (tmp_path / "presets/compare/mine.yaml").write_text(text)
    return tmp_path


METHODS = """
title: Two methods
seeds: [3, 4]
common: {train_reference: {labelled_set: none}}
settings:
  plain: {train_segmenter: {reliability: none}}
  both: {train_segmenter: {reliability: co_training, co_training: {quantile: 0.5}}}
"""


def test_a_run_is_its_preset_with_the_setting_and_the_seed(tmp_path: Path) -> None:
    root = written(tmp_path, METHODS)
    found = cells(read_grid("mine", root), root)
    assert [(cell.setting, cell.seed) for cell in found] == [
        ("plain", 3), ("both", 3), ("plain", 4), ("both", 4),
    ]  # fmt: skip
    params = found[3].params
    assert params["expand_prompts"]["seed"] == params["train_segmenter"]["seed"] == 4
    assert params["train_reference"] == {"labelled_set": "none"}
    ours = yaml.safe_load((ROOT / "presets/storybook.yaml").read_text())["train_segmenter"]
    assert params["train_segmenter"]["co_training"] == ours["co_training"] | {"quantile": 0.5}
    assert found[3].measure == "evaluation.miou" and found[3].name == "both, seed 4"


def test_runs_share_what_their_parameters_leave_alike(tmp_path: Path) -> None:
    root = written(tmp_path, METHODS)
    plain, both, other, _ = cells(read_grid("mine", root), root)
    shared = [stage for stage in plain.keys if plain.keys[stage] == both.keys[stage]]
    assert shared == [
        "render_storybook", "expand_prompts", "adapt_lora", "sample_images", "extract_masks",
        "score_masks", "filter_masks",
    ]  # fmt: skip
    assert [stage for stage in plain.keys if plain.keys[stage] == other.keys[stage]] == [
        "render_storybook",
        "adapt_lora",
    ]


def test_a_run_waits_for_the_one_that_makes_what_they_share(tmp_path: Path) -> None:
    root = written(tmp_path, METHODS)
    grid = read_grid("mine", root)
    assert waits(cells(grid, root)) == [set(), {0}, set(), {2}]
    grid.common = Setting()  # with a reference, which each method trains by its own recipe,
    grid.seeded = ["expand_prompts.seed"]  # and which no seed changes
    assert waits(cells(grid, root)) == [set(), {0}, {0}, {1, 2}]


def test_settings_that_share_most_stand_together(tmp_path: Path) -> None:
    text = """
title: Order
seeds: [0]
settings:
  few: {expand_prompts: {images_per_class: 5}}
  many: {expand_prompts: {images_per_class: 9}}
  few, other network: {expand_prompts: {images_per_class: 5}, train_segmenter: {iterations: 9}}
"""
    root = written(tmp_path, text)
    names = [cell.setting for cell in cells(read_grid("mine", root), root)]
    assert names == ["few", "few, other network", "many"]


def test_keys_follow_the_graph_and_nothing_else() -> None:
    stages: dict[str, Any] = {
        "check": {"cmd": "c", "always_changed": True, "params": ["a"], "outs": ["ok"]},
        "one": {"cmd": "1", "deps": ["ok"], "params": ["a.x"], "outs": [{"o": {"cache": False}}]},
        "two": {"cmd": "2", "deps": ["o/index"], "params": ["b"], "metrics": ["m"]},
        "aside": {"cmd": "3", "params": ["b"]},
    }
    base = stage_keys(stages, {"a": {"x": 1, "y": 1}, "b": 1}, "two")
    assert list(base) == ["one", "two"]
    assert stage_keys(stages, {"a": {"x": 1, "y": 2}, "b": 1}, "two") == base
    changed = stage_keys(stages, {"a": {"x": 2, "y": 1}, "b": 1}, "two")
    assert changed["one"] != base["one"] and changed["two"] != base["two"]
    changed = stage_keys(stages, {"a": {"x": 1, "y": 1}, "b": 2}, "two")
    assert changed["one"] == base["one"] and changed["two"] != base["two"]


def test_merging_leaves_both_trees_alone() -> None:
    tree = {"a": {"x": 1, "y": [1]}, "b": 1}
    changes = {"a": {"y": [2]}, "b": {"z": 3}}
    assert merged(tree, changes) == {"a": {"x": 1, "y": [2]}, "b": {"z": 3}}
    assert tree == {"a": {"x": 1, "y": [1]}, "b": 1} and changes["a"] == {"y": [2]}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("reliability: none", "reliabilty: none", "did you mean 'reliability'?"),
        ("train_segmenter: {reliability: none}", "train: {}", "'train' is no key of train"),
        ("seeds: [3, 4]", "seeds: []", "seeds: List should have at least 1 item"),
        ("seeds: [3, 4]", "seeds: [3, 4]\nstage: evaluate", "is no stage of dvc.yaml"),
        ("seeds: [3, 4]", "seeds: [3, 4]\npreset: story", "did you mean 'storybook'?"),
        (
            "seeds: [3, 4]",
            "seeds: [3, 4]\nbaseline: plan",
            "'plan' is no setting; there are: plain",
        ),
        ("seeds: [3, 4]", "seeds: [3, 4]\naxis: images", "could not convert string to float"),
        ("seeds: [3, 4]", "seeds: [3, 4]\nclaims: [{setting: both}]", "give `above`"),
        ("seeds: [3, 4]", "seeds: [3", "not valid YAML"),
        ("seeds: [3, 4]", "seeds: [2024-13-45]", "not valid YAML: month must be in 1..12"),
        ("seeds: [3, 4]", "seeds: [3, 3]", "[3, 3] names one twice"),
        (
            "seeds: [3, 4]",
            "seeds: [3]\nclaims: [{setting: both, above: plain, by: deviation}]",
            "by: deviation needs two `seeds` or more",
        ),
        ("seeds: [3, 4]", "seeds: [3, 4]\nalso: {value: filter.train}", "'value' is a column"),
        ("seeds: [3, 4]", "seeds: [3, 4]\nstage: preflight", "'preflight' only checks inputs"),
        (
            "seeds: [3, 4]",
            "seeds: [3, 4]\nstage: filter_masks",
            "evaluation.miou: evaluate_segmenter writes metrics/evaluation.json, and runs up to "
            "filter_masks do without it",
        ),
        (
            "seeds: [3, 4]",
            "seeds: [3, 4]\nalso: {found: reference_training.miou}\nstage: train_segmenter\n"
            "measure: training.miou",
            "reference_training.miou: train_reference writes",
        ),
        ("seeds: [3, 4]", "seeds: [3, 4]\nmeasure: other.miou", "no stage of dvc.yaml writes"),
        (
            "train_segmenter: {reliability: none}",
            "train_segmenter: 3",
            "setting 'plain': train_segmenter: 3 is no mapping",
        ),
        (
            "train_segmenter: {reliability: none}",
            "train_segmenter: null",
            "train_segmenter: None is no mapping",
        ),
    ],
)
def test_a_wrong_grid_says_where(tmp_path: Path, old: str, new: str, said: str) -> None:
    root = written(tmp_path, METHODS.replace(old, new))
    with pytest.raises(InputError) as error:
        cells(read_grid("mine", root), root)
    assert said in str(error.value)


def test_an_unknown_grid_names_the_nearest(tmp_path: Path) -> None:
    root = written(tmp_path, METHODS)
    with pytest.raises(InputError, match="did you mean 'mine'"):
        read_grid("mime", root)


def test_a_claim_is_of_one_kind() -> None:
    assert Claim(setting="a", above="b").by == 0
    for wrong in ({}, {"above": "b", "of": "c", "share": 0.5}, {"of": "c"}):
        with pytest.raises(ValueError, match="give `above`"):
            Claim.model_validate({"setting": "a", **wrong})


@pytest.mark.parametrize("name", grid_names(ROOT))
def test_every_grid_here_has_runs_with_valid_parameters(name: str, tmp_path: Path) -> None:
    for cell in cells(read_grid(name, ROOT), ROOT):
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(cell.params))
        load_params(path, lists=ROOT)
