"""A stage in a process group of its own, which can be stopped at a chosen moment.

DVC's part is played by emptying the stage's output before each start.
"""

import errno
import hashlib
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import yaml

from tasks import durable, extract_masks, records, sample_images
from tasks.model_digest import model_digest
from tasks.params import Params
from tasks.prompts import expand

ROOT = Path(__file__).parents[1]
STAGES: dict[str, tuple[Any, str, str]] = {
    "sample_images": (sample_images, "sample_batch", "data/samples"),
    "extract_masks": (extract_masks, "extract", "data/masks"),
}
"""Stage -> its module, the function in it that computes a batch, its output."""
SHARD, BATCH = 4, 2
POLL_SECONDS = 0.0005


def write_inputs(root: Path, per_class: int) -> Params:
    """What the stages read, of two classes; returns the parameters."""
    raw = yaml.safe_load((ROOT / "presets/storybook.yaml").read_text(encoding="utf-8"))
    raw["expand_prompts"]["classes"] = raw["expand_prompts"]["classes"][:2]
    raw["expand_prompts"]["images_per_class"] = per_class
    raw["sample_images"] |= {
        "model": str(ROOT / "models/storybook-sd"),
        "num_inference_steps": 4,
        "batch_size": BATCH,
        "shard_size": SHARD,
        "device": "cpu",
    }
    raw["extract_masks"] |= {"batch_size": BATCH}
    params = Params.model_validate(raw)
    records.write_rows(
        root / "data/prompts.parquet", expand(params.expand_prompts), records.PROMPTS
    )
    digest = model_digest(params.sample_images.model, root)
    records.write_json(root / "data/inputs/model.json", {"digest": digest})
    records.write_json(root / "models/lora/adapter.json", {"source": "none", "digest": None})
    return params


def run_stage(stage: str, params: Params, root: Path, full: bool = False) -> None:
    """In a process of its own: the stage, with a byte in ``images`` for each image it computes.

    Args:
        full: the disk is full after the third shard.
    """
    os.setsid()
    sys.stderr = open(root / "log", "a", buffering=1)  # noqa: SIM115  # to the process's end
    torch.set_num_threads(1)
    module, batch, out = STAGES[stage]
    compute = getattr(module, batch)
    lines = os.open(root / "images", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def counted(*args: Any) -> Any:
        result = compute(*args)
        os.write(lines, b"1" * len(result[0] if isinstance(result, tuple) else result))
        return result

    setattr(module, batch, counted)
    if full:
        _fill_disk(root / ".maskloom/store" / stage)
    shutil.rmtree(root / out, ignore_errors=True)
    (root / "begun").touch()
    try:
        module.run(params, root)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SystemExit(errno.ENOSPC) from error
        raise


def _fill_disk(store: Path) -> None:
    flush = os.fsync

    def fsync(handle: int) -> None:
        if len(list(store.glob("*.tar"))) >= 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(handle)

    durable.os.fsync = fsync  # type: ignore[attr-defined]  # the module that it imports


def images(root: Path) -> int:
    """How many images have been computed in ``root`` so far."""
    with suppress(FileNotFoundError):
        return (root / "images").stat().st_size
    return 0


def finished(root: Path, stage: str) -> int:
    """How many shards are finished."""
    return len(list((root / ".maskloom/store" / stage).glob("*.json")))


def digests(root: Path, stage: str) -> dict[str, str]:
    """SHA-256 of each file of the stage's output."""
    folder = root / STAGES[stage][2]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def start(stage: str, params: Params, root: Path, **options: Any) -> Any:
    """The stage's process."""
    (root / "begun").unlink(missing_ok=True)
    process = get_context("fork").Process(
        target=run_stage, args=(stage, params, root), kwargs=options
    )
    process.start()
    return process


def complete(stage: str, params: Params, root: Path, **options: Any) -> tuple[float, int]:
    """Let the stage run to its end; returns seconds and exit status."""
    began = time.monotonic()
    process = start(stage, params, root, **options)
    process.join()
    if process.exitcode not in (0, errno.ENOSPC):
        raise SystemExit(f"{stage} failed:\n{(root / 'log').read_text()}")
    return time.monotonic() - began, process.exitcode


def kill_at(stage: str, params: Params, root: Path, after: int, seconds: float) -> bool:
    """Start the stage; kill its group so long after some images. False: it had ended before."""
    before = images(root)
    process = start(stage, params, root)
    while process.is_alive():
        if (root / "begun").exists() and images(root) - before >= after:
            time.sleep(seconds)
            break
        time.sleep(POLL_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join()
    return bool(process.exitcode == -signal.SIGKILL)
