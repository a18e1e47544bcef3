"""What old runs left: shown with its size, asked for, removed; what is in use stays."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks import pruning
from tasks.in_use import write_in_use
from tasks.params import InputError, Params
from tasks.pruning import Piece, find_pieces, prune
from tasks.sample_shards import shard_jobs
from tasks.work_store import Shard, WorkStore

ROOT = Path(__file__).parents[2]


def fill(root: Path) -> dict[str, Path]:
    """Two shards of samples, two trainings and an adaptation; of each one is in use."""
    paths = {}
    store = WorkStore("sample_images", root)
    for name in ("old", "new"):
        paths[f"samples {name}"] = store.put(name, Shard(bytes(2000), [])).path
        training = root / ".maskloom/training" / name / "finished/weights.pth"
        training.parent.mkdir(parents=True)
        training.write_bytes(bytes(3000))
        paths[f"training {name}"] = training
    adapted = root / ".maskloom/lora/only/checkpoint.pt"
    adapted.parent.mkdir(parents=True)
    adapted.write_bytes(bytes(4000))
    paths["lora only"] = adapted
    store.use(["new"])
    write_in_use("training", "training", ["old"], root)
    write_in_use("training", "training", ["new"], root)
    return paths


@pytest.fixture
def paths(
    tmp_path: Path, make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pruning, "load_params", make_params)
    return fill(tmp_path)


def test_what_the_last_runs_use_stays(paths: dict[str, Path]) -> None:
    prune(yes=True)
    left = {name for name, path in paths.items() if path.exists()}
    # Of adaptations no run has said which it uses.
    assert left == {"samples new", "training new", "lora only"}
    assert not list(Path(".maskloom").rglob("*.pruned"))
    assert not (WorkStore("sample_images").folder / "old.json").exists()
    assert WorkStore("sample_images").verify("new")


def test_sizes_are_shown_by_kind(paths: dict[str, Path], capsys: pytest.CaptureFixture) -> None:
    paths["samples old"].with_suffix(".link").hardlink_to(paths["samples old"])
    prune(yes=True)
    shown = capsys.readouterr().out
    rows = {line.split()[0]: re.split(r"\s{2,}", line.strip()) for line in shown.splitlines()}
    assert rows["training"] == ["training", "2, 6.0 kB", "1, 3.0 kB", "1, 3.0 kB", "3.0 kB"]
    assert rows["lora"] == ["lora", "1, 4.0 kB", "1, 4.0 kB", "0, 0 bytes", "0 bytes"]
    _, there, kept, going, frees = rows["samples"]
    assert (there[:6], kept[:6], going[:6]) == ("2, 4.2", "1, 2.1", "1, 2.1")
    assert frees.endswith("bytes")  # the record's: the shard itself is linked elsewhere


def test_without_a_terminal_it_does_not_go_on(paths: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="add --yes"):
        prune()
    assert all(path.exists() for path in paths.values())


@pytest.mark.parametrize(("answer", "left"), [(True, 3), (False, 5)])
def test_it_asks(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch, answer: bool, left: int
) -> None:
    class Terminal(pruning.Console):
        is_terminal = True

    monkeypatch.setattr(pruning, "Console", Terminal)
    monkeypatch.setattr(pruning.Confirm, "ask", lambda *_, **__: answer)
    prune()
    assert sum(path.exists() for path in paths.values()) == left


def test_young_ones_stay_when_they_are_to(paths: dict[str, Path]) -> None:
    week_ago = time.time() - 7 * 86_400
    os.utime(paths["training old"], (week_ago, week_ago))
    prune(yes=True, older_than=3)
    assert not paths["training old"].exists() and paths["samples old"].exists()


def test_shards_that_no_record_names_go(paths: dict[str, Path]) -> None:
    folder = WorkStore("sample_images").folder
    (folder / "new-0123456789abcdef.tar").write_bytes(b"lost a race")
    (folder / "old.json").unlink()
    prune(yes=True)
    assert [path.name for path in folder.glob("*.tar")] == [paths["samples new"].name]


def test_a_half_removed_training_is_no_training(paths: dict[str, Path]) -> None:
    """Killed while it is removed: it goes the next time."""
    paths["training new"].parents[1].rename(".maskloom/training/new.pruned")
    stale = [piece for piece in find_pieces(pruning.load_params()) if not piece.used]
    assert Piece("training", (Path(".maskloom/training/new.pruned"),), False) in stale


def test_what_the_present_parameters_name_stays(
    paths: dict[str, Path], write_plan: Callable[[Path], Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also before they have been run again."""
    params = write_plan(Path())
    monkeypatch.setattr(pruning, "load_params", lambda: params)
    (job, *_) = shard_jobs(params)
    WorkStore("sample_images").put(job.fingerprint, Shard(b"planned", []))
    prune(yes=True)
    assert WorkStore("sample_images").verify(job.fingerprint)


def test_the_command_is_one_of_the_shards() -> None:
    command = [sys.executable, "-m", "tasks.shards", "prune", "--help"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "python -m tasks.shards prune" in told and "--older-than" in told
    # Without these two, what commits and kept runs need goes as well.
    words = " ".join(told.split())
    assert "dvc gc --workspace --all-commits --all-experiments" in words
