"""What is counted of a batch's labels, in one process and over several."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from mmseg_configs.reliability.batch import Counts

ROOT = Path(__file__).parents[3]
LABEL = torch.tensor([[[0, 0], [1, 255]]])
SCRIPT = """
import json, os, sys
import torch
torch.distributed.init_process_group("gloo")
from mmseg_configs.reliability.batch import Counts
rank = torch.distributed.get_rank()
counts = Counts(2)
weights = torch.ones(1, 2, 2) if rank else torch.zeros(1, 2, 2)
label = torch.tensor([[[0, 0], [1, 255]]]) if rank else torch.zeros(1, 2, 2, dtype=torch.int64)
counts.add(label, weights, 255, torch.full((1, 2, 2), bool(rank)))
counts.gather()
with open(f"{sys.argv[1]}/{rank}.json", "w") as file:
    json.dump(counts.read(["rest", "car"], True), file)
"""


def test_shares_are_of_the_pixels_that_are_not_ignored() -> None:
    counts = Counts(3)
    weights = torch.tensor([[[1.0, 0.5], [0.25, 1.0]]])
    counts.add(LABEL, weights, 255, torch.tensor([[[True, False], [True, True]]]))
    counts.gather()  # nobody else is there
    assert counts.read(["rest", "car", "boat"], True) == {
        "reliable": round(1.75 / 3, 4),
        "reliable_by_class": {"rest": 0.75, "car": 0.25, "boat": None},
        "agreement": round(2 / 3, 4),
    }


def test_several_processes_tell_what_all_of_them_counted(tmp_path: Path) -> None:
    """One trusts none of its four pixels of the rest, the other two of them and one car."""
    (tmp_path / "count.py").write_text(SCRIPT)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node=2", str(tmp_path / "count.py"), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, cwd=tmp_path, env=environment, timeout=300)
    for rank in (0, 1):
        told = json.loads((tmp_path / f"{rank}.json").read_text())
        assert told == {
            "reliable": round(3 / 7, 4),
            "reliable_by_class": {"rest": round(2 / 6, 4), "car": 1.0},
            "agreement": round(3 / 7, 4),
        }
