"""What the last runs use, each run's in place of its user's last one."""

from pathlib import Path

from tasks.in_use import read_in_use, write_in_use


def test_each_user_has_its_own_last_run(tmp_path: Path) -> None:
    assert read_in_use("training", tmp_path) is None
    write_in_use("training", "training", ["a"], tmp_path)
    write_in_use("training", "reference", ["b"], tmp_path)
    write_in_use("training", "reference", ["c"], tmp_path)
    assert read_in_use("training", tmp_path) == {"a", "c"}
