"""What git does not hold and parameters name: linked into clones, and part of what made a run."""

import shutil
from pathlib import Path

import pytest

from flows.outside_inputs import OutsideInputs
from tasks.git import git


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A repository that writes ``data/test`` and holds ``kept`` in git, and a clone's folder."""
    root = tmp_path / "root"
    (root / "kept").mkdir(parents=True)
    (root / "kept/a").write_text("a")
    (root / "dvc.yaml").write_text("stages: {a: {cmd: a, outs: [data/test: {cache: false}]}}")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "-qm", "toy"]):
        git(command, root)
    (root / ".maskloom/compare/workspace-0/kept").mkdir(parents=True)
    return root


def clone_of(house: Path) -> Path:
    return house / ".maskloom/compare/workspace-0"


def test_inputs_that_git_does_not_hold_are_reachable_in_a_clone(house: Path) -> None:
    clone = clone_of(house)
    (house / "models/own").mkdir(parents=True)
    (house / "data/test/images").mkdir(parents=True)
    params = {
        "a": {"model": "models/own", "negative_prompt": "blurred, " * 500},
        "b": ["kept", "none", "", "no/where", "data/test/images", "data", "data/", ".", 3],
    }
    assert OutsideInputs(house, "HEAD").link(params, clone) == params
    assert (clone / "models/own").resolve() == house / "models/own"
    assert not (clone / "kept").is_symlink() and not (clone / "no").exists()
    assert not (clone / "data").exists()  # the clone's own stage writes it


def test_a_link_follows_what_is_linked_elsewhere(house: Path) -> None:
    clone, sets = clone_of(house), house.parent / "sets"
    for year in ("2007", "2012"):
        (sets / year / "images").mkdir(parents=True)
    (house / "data").mkdir()
    (house / "data/voc").symlink_to(sets / "2007")
    inputs = OutsideInputs(house, "HEAD")
    for params in ({"set": "data/voc"}, {"set": "data/voc/images"}):
        inputs.link(params, clone)
        assert (clone / "data/voc/images").resolve() == sets / "2007/images"
    (house / "data/voc").unlink()
    (house / "data/voc").symlink_to(sets / "2012")
    inputs.link({"set": "data/voc/images"}, clone)
    assert (clone / "data/voc/images").resolve() == sets / "2012/images"
    (house / "data/voc").unlink()
    inputs.link({"set": "data/voc/images"}, clone)
    assert not (clone / "data/voc/images").exists()


def test_a_link_that_git_holds_stays(house: Path) -> None:
    clone = clone_of(house)
    for folder in (house, clone):
        (folder / "own").symlink_to("kept")
    git(["add", "."], house)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    git([*author, "commit", "-qm", "more"], house)
    OutsideInputs(house, "HEAD").link({"model": "own"}, clone)
    assert (clone / "own").readlink() == Path("kept")


def test_a_path_out_of_the_tree_is_absolute_in_the_clone(house: Path) -> None:
    (house.parent / "own").mkdir()
    (house / ".maskloom/compare/three").mkdir()
    before = sorted(house.rglob("*"))
    params = {"a": {"models": ["../own", "kept/../../own"]}, "b": "../nowhere"}
    own = str(house.parent / "own")
    linked = OutsideInputs(house, "HEAD").link(params, clone_of(house))
    assert linked == {"a": {"models": [own, own]}, "b": "../nowhere"}
    assert sorted(house.rglob("*")) == before and params["b"] == "../nowhere"


def test_digests_tell_the_bytes_of_what_git_does_not_hold(house: Path) -> None:
    own, away = house / "models/own", house.parent / "away"
    for folder in (own, away, house / "data/test"):
        folder.mkdir(parents=True)
        (folder / "x").write_text("1")
    (own / "images").symlink_to(away)
    shutil.copytree(away, house.parent / "list")
    others = ["kept", "data/test", "no", ".", "..", "/"]
    params = {"a": ["models/own", str(away), "../list/x", *others]}
    first = OutsideInputs(house, "HEAD").digests(params)
    assert sorted(first) == sorted(["models/own", str(away), "../list/x"])
    assert OutsideInputs(house, "HEAD").digests(params) == first
    (away / "x").write_text("22")
    second = OutsideInputs(house, "HEAD").digests(params)
    assert [text for text in first if first[text] != second[text]] == [str(away), "models/own"]
