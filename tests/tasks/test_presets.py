import subprocess
from pathlib import Path

import pytest

from tasks.params import InputError
from tasks.presets import differences, preset_names, use_preset

ROOT = Path(__file__).parents[2]
STORYBOOK = (ROOT / "presets/storybook.yaml").read_text()
SMALLER = STORYBOOK.replace("images_per_class: 150", "images_per_class: 10")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A repository with two presets, the first one in use and committed."""
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/storybook.yaml").write_text(STORYBOOK)
    (tmp_path / "presets/smaller.yaml").write_text(SMALLER)
    (tmp_path / "params.yaml").write_text(STORYBOOK)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    git(folder, *author, "commit", "--quiet", "--message", "state")


def test_lists_presets_in_order(house: Path) -> None:
    assert preset_names(house) == ["smaller", "storybook"]


def test_replaces_a_preset_by_another(house: Path) -> None:
    assert use_preset("smaller", root=house) is None
    assert (house / "params.yaml").read_text() == SMALLER
    assert not (house / "params.yaml.bak").exists()


def test_works_without_params(house: Path) -> None:
    (house / "params.yaml").unlink()
    use_preset("smaller", root=house)
    assert (house / "params.yaml").read_text() == SMALLER


def test_keeps_changes_by_hand(house: Path) -> None:
    edited = STORYBOOK.replace("images_per_class: 150", "images_per_class: 77")
    (house / "params.yaml").write_text(edited)
    with pytest.raises(InputError, match="neither committed nor a preset"):
        use_preset("smaller", root=house)
    assert (house / "params.yaml").read_text() == edited

    assert use_preset("smaller", force=True, root=house) == house / "params.yaml.bak"
    assert (house / "params.yaml").read_text() == SMALLER
    assert (house / "params.yaml.bak").read_text() == edited


def test_replaces_what_is_committed(house: Path) -> None:
    (house / "params.yaml").write_text(STORYBOOK + "# a note\n")
    commit(house)
    assert use_preset("smaller", root=house) is None


def test_names_the_nearest_preset(house: Path) -> None:
    with pytest.raises(InputError, match="no preset 'storybok'; did you mean 'storybook'"):
        use_preset("storybok", root=house)


def test_refuses_a_broken_preset(house: Path) -> None:
    broken = STORYBOOK.replace("images_per_class: 150", "images_per_class: 0")
    (house / "presets/broken.yaml").write_text(broken)
    with pytest.raises(InputError, match="images_per_class"):
        use_preset("broken", root=house)
    assert (house / "params.yaml").read_text() == STORYBOOK


def test_differences_are_dotted_keys_with_both_values() -> None:
    ours = {"a": {"b": 1, "c": [1, 2], "same": 0}, "only": 3}
    theirs = {"a": {"b": 2, "c": [1, 3], "same": 0}, "new": None}
    assert list(differences(ours, theirs)) == [
        ("a.b", 1, 2),
        ("a.c", [1, 2], [1, 3]),
        ("only", 3, None),
    ]
