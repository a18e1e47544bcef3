"""Whether stopped runs end as if they had not been stopped: kills, a full disk, a flipped byte.

``sample_images`` and ``extract_masks`` run on the storybook model, in a process group of their own
that is ended with SIGKILL at random moments, the loading of the model included, again and again in
one run; DVC's part is played by emptying the stage's output before each start. Then all bytes of
the output are compared with those of a run that nobody stopped.

Lost is what a killed process had computed, and the next one computed again. The disk is full for
real, a small tmpfs, where one can be mounted; elsewhere the error is injected.
"""

import errno
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from benchmarks.stoppable import (
    BATCH,
    SHARD,
    STAGES,
    complete,
    digests,
    finished,
    images,
    kill_at,
    write_inputs,
)
from tasks.params import Params
from tasks.progress import progress


def kill_often(
    stage: str, params: Params, root: Path, kills: int, whole: Path, per_image: float, seed: int
) -> Row:
    """Kill one run of the stage again and again, let it end, compare it with the whole one.

    Args:
        per_image: seconds.
    """
    rng = random.Random(seed)
    begun, lost = images(root), [0]
    with progress(f"{stage}, kills", kills, "kills") as advance:
        for _ in range(kills):
            computed, kept = images(root), finished(root, stage)
            # From the start, the loading of the model included, to a shard and more later.
            after, seconds = rng.randrange(SHARD + 1), rng.uniform(0, 1.5 * BATCH * per_image)
            if not kill_at(stage, params, root, after, seconds):
                raise SystemExit(f"{stage}: ended before it was killed so often; ask for more")
            lost.append(images(root) - computed - (finished(root, stage) - kept) * SHARD)
            advance(1)
    left = finished(whole, stage) - finished(root, stage)
    complete(stage, params, root)
    return {
        **_row(stage, f"SIGKILL, {kills} times", whole, left),
        "images computed again": images(root) - begun - finished(whole, stage) * SHARD,
        "at most at once": max(lost),
        "equal": digests(root, stage) == digests(whole, stage),
    }


def _row(stage: str, what: str, whole: Path, left: int) -> Row:
    shards = finished(whole, stage)
    return {"stage": stage, "what": what, "shards": shards, "left for the last start": left}


def flip_byte(stage: str, params: Params, root: Path, whole: Path, seed: int) -> Row:
    """Flip a byte in the middle of a finished shard."""
    rng = random.Random(seed)
    shards = sorted((root / ".maskloom/store" / stage).glob("*.tar"))
    path = rng.choice(shards)
    with open(path, "r+b") as file:
        at = rng.randrange(path.stat().st_size)
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ (1 << rng.randrange(8))]))
    computed = images(root)
    complete(stage, params, root)
    again = images(root) - computed
    return {
        **_row(stage, "a byte flipped in a finished shard", whole, 1),
        "images computed again": again,
        "at most at once": again,
        "equal": digests(root, stage) == digests(whole, stage),
    }


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[int], None] | None]:
    """A tmpfs of so many bytes at ``folder``; gives what makes it larger, or None without one."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if (
        shutil.which("mount") is None
        or subprocess.run(command, capture_output=True, check=False).returncode
    ):
        yield None
        return
    try:
        yield lambda larger: _remount(folder, larger)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _remount(folder: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


def fill_disk(stage: str, params: Params, root: Path, whole: Path) -> Row:
    """Let the disk be full half-way, then make room."""
    work = root / ".maskloom"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    kept = whole / ".maskloom/store" / stage
    half = sum(path.stat().st_size for path in kept.iterdir()) // 2
    with small_disk(work, half) as enlarge:
        _, status = complete(stage, params, root, full=enlarge is None)
        if status != errno.ENOSPC:
            raise SystemExit(f"{stage}: ended with {status} on a full disk")
        left = finished(whole, stage) - finished(root, stage)
        if enlarge:
            enlarge(100 * half)
        complete(stage, params, root)
        again = images(root) - finished(whole, stage) * SHARD
        return {
            **_row(stage, f"disk full, {'tmpfs' if enlarge else 'injected'}", whole, left),
            "images computed again": again,
            "at most at once": again,
            "equal": digests(root, stage) == digests(whole, stage),
        }


def grow(root: Path, per_class: int) -> Row:
    """Ask for 10 % more prompts: the old shards stay, the new ones are sampled."""
    stage, more = "sample_images", per_class // 10
    before, computed, shards = digests(root, stage), images(root), finished(root, stage)
    complete(stage, write_inputs(root, per_class + more), root)
    after = digests(root, stage)
    again = images(root) - computed - 2 * more
    return {
        "stage": stage,
        "what": "10 % more prompts",
        "shards": shards,
        "left for the last start": finished(root, stage) - shards,
        "images computed again": again,
        "at most at once": again,
        "equal": all(after[name] == before[name] for name in before if name != "index.parquet"),
    }


def measure(folder: Path, per_class: int, kills: int, seed: int) -> list[Row]:
    """All of it; see the module."""
    whole, stopped = folder / "whole", folder / "stopped"
    rows: list[Row] = []
    for root in (whole, stopped):
        params = write_inputs(root, per_class)
    for number, stage in enumerate(STAGES):
        seconds, _ = complete(stage, params, whole)
        per_image = seconds / (2 * per_class)
        rows.append(kill_often(stage, params, stopped, kills, whole, per_image, seed + number))
        rows.append(flip_byte(stage, params, stopped, whole, seed + number))
        spare = folder / f"{stage}-full"
        shutil.copytree(whole, spare, ignore=shutil.ignore_patterns(".maskloom", "images"))
        rows.append(fill_disk(stage, params, spare, whole))
    rows.append(grow(whole, per_class))
    return rows


def main(
    *,
    kills: Annotated[int, Parameter(help="of each stage")] = 20,
    seed: Annotated[int, Parameter(help="of the moments")] = 0,
    quick: Annotated[bool, Parameter(help="few of all; writes no result")] = False,
) -> None:
    """Kill the stages at random moments, fill the disk, flip a byte, and compare the outputs."""
    per_class = 20 if quick else 40
    with TemporaryDirectory(prefix="maskloom-resume-") as temporary:
        rows = measure(Path(temporary), per_class, 2 if quick else kills, seed)
    equal = sum(bool(row["equal"]) for row in rows)
    lost = max(int(row["at most at once"]) for row in rows if "SIGKILL" in str(row["what"]))
    new, old = (int(rows[-1][key]) for key in ("left for the last start", "shards"))
    bars = [
        Bar.at_least("outputs equal to the uninterrupted run's", equal, len(rows)),
        Bar.at_most("shards lost per kill", lost / SHARD, 1),
        Bar.at_most("new shards for 10 % more prompts", new, old / 10 + 1),
        Bar.at_least("shards of the run", old, 10 if quick else 12),
    ]
    ran = what_ran(seeds=f"{seed}", rounds=f"{kills} kills of each stage", steps=4, size="64x64")
    finish("resume", ran, rows, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
