"""Memory over whole runs of the stages that make the data: it must not grow with the data.

Each run is a process of its own, whose peak the system tells; twelve times the samples may cost a
little more (an index row is a few hundred bytes), not twelve times as much.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tasks.params import Params

ROOT = Path(__file__).parents[2]
RUN = """
import resource, sys
from pathlib import Path
from tasks import {stage}
from tasks.params import load_params
{stage}.run(load_params(Path("params.yaml")), Path())
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
FEW, MANY = 24, 288
"""Samples of a run: 3 and 36 shards."""
ONLY_NAMES = {"plain": 1.0, "synonym": 0.0, "hyponym": 0.0}
"""The small model's text encoder has no room for every word that the lexicon has for a car."""
KEPT = 64 * 64 * 3 * (MANY - FEW) / 2**20
"""MiB that the images alone of the further samples would take, were they held."""


def peak(stage: str, root: Path) -> float:
    """The largest resident set of a run, in MiB."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + RUN.format(stage=stage)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1]) / 1024


@pytest.mark.slow
def test_memory_stays_flat_while_samples_and_masks_are_made(
    tmp_path: Path, write_plan: Callable[..., Params]
) -> None:
    peaks: dict[str, list[float]] = {"sample_images": [], "extract_masks": []}
    for count in (FEW, MANY):
        root = tmp_path / str(count)
        root.mkdir()
        sizes = {f"{section}.batch_size": 8 for section in ("sample_images", "extract_masks")}
        params = write_plan(
            root,
            count // 2,
            **sizes,
            **{"sample_images.shard_size": 8, "expand_prompts.shares": ONLY_NAMES},
        )
        (root / "params.yaml").write_text(yaml.safe_dump(params.model_dump()))
        for stage, found in peaks.items():
            found.append(peak(stage, root))
    for stage, (few, many) in peaks.items():
        print(f"{stage}: {few:.0f} MiB for {FEW} samples, {many:.0f} MiB for {MANY}")
    # The capture of a sample is a multiple of its image, the scores of a mask too.
    assert all(many - few < 4 * KEPT for few, many in peaks.values()), peaks
