"""Training in several processes, as `torchrun` starts them, over gloo on the CPU."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from tasks import segmentation, train_segmenter
from tasks.params import InputError, Params
from tasks.records import read_json
from tasks.segmentation import build_runner

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
import yaml
from tasks import train_segmenter
from tasks.params import Params
root = Path(sys.argv[1])
params = Params.model_validate(yaml.safe_load((root / "params.yaml").read_text()))
train_segmenter.run(params, root)
"""


def start(root: Path, processes: int) -> None:
    """Train in ``root`` and leave what the stage leaves.

    Raises:
        CalledProcessError: a process failed.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, f"--nproc-per-node={processes}", str(root / "run.py"), str(root)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, cwd=root, env=environment, timeout=300)


def test_processes_share_the_batch_and_the_first_one_writes(
    toy_params: Callable[..., Params],
    training_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stage takes over what they trained, however many there were."""
    changes = {"reliability": "co_training", "dtype": "float32", "keep": "best", "ema": 0.5}
    params = toy_params({f"train_segmenter.{key}": value for key, value in changes.items()})
    for processes in (1, 2):
        root = tmp_path / str(processes)
        root.mkdir()
        (root / "data").symlink_to(training_root / "data")
        (root / "tiny.py").write_text((training_root / "tiny.py").read_text())
        (root / "run.py").write_text(SCRIPT)
        (root / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
        start(root, processes)
        report = read_json(root / "metrics/training.json")
        assert (report["iterations"], len(report["val"]), len(report["reliability"])) == (4, 2, 4)
        weights = torch.load(root / "models/segmenter/weights.pth", weights_only=True)
        assert not any(name.startswith("module.") for name in weights)
        (finished,) = (root / ".maskloom/training").iterdir()
        assert [path.name for path in finished.iterdir()] == ["finished"]
    (root / "metrics/training.json").unlink()
    monkeypatch.setattr(segmentation, "build_runner", None)
    train_segmenter.run(params, root)
    assert read_json(root / "metrics/training.json") == report


def test_a_batch_that_cannot_be_shared_is_refused(
    make_config: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for processes, said in (
        ("3", "4 images cannot be shared evenly by 3 processes"),
        ("4", "4 leaves each of 4 processes one image, .* choose 8 or more, or fewer processes"),
    ):
        monkeypatch.setenv("WORLD_SIZE", processes)
        with pytest.raises(InputError, match=said):
            build_runner(make_config(), tmp_path, "uneven", None)
