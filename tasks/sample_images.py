"""Stage ``sample_images``: prompts to images, the class phrases' attention read on the way.

Samples lie in tar shards. What is finished lies in the work store and is linked; the rest is
sampled, encoded and written in a thread beside the sampling. A shard's bytes are the same whoever
computes it, on machines of a kind: so `compute_shard` may run anywhere.
"""

import io
import logging
import shutil
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch

from tasks import records
from tasks.adapters import ADAPTER_FILE
from tasks.background import Background
from tasks.captures import Captured
from tasks.entry import run_stage
from tasks.label_maps import encode_image
from tasks.machine import choose_device
from tasks.params import InputError, Params
from tasks.pipelines import load_pipeline
from tasks.progress import progress
from tasks.sample_shards import Recipe, SampleJob, check_worker, read_recipe, shard_jobs
from tasks.sampling import sample_batch
from tasks.shards import ShardWriter
from tasks.work_store import Shard, WorkStore

log = logging.getLogger(__name__)

Row = dict[str, Any]
OUT = Path("data/samples")
CPU_IS_FULL = "DefaultCPUAllocator"
"""In the text of the plain RuntimeError that PyTorch raises where the CPU's memory does not do."""


class Sampler:
    """Samples the shards of a recipe, with a pipeline that is loaded once.

    Args:
        recipe: of all its jobs.
        root: the repository root.
        device: where to; None: as the recipe says.

    Attributes:
        batch_size: images at a time: the recipe's, until the device's memory does not do.

    Raises:
        InputError: the device is not there, or of another kind than the recipe's; or the model,
            the adapter or the libraries are others, see `tasks.sample_shards.check_worker`.
    """

    def __init__(self, recipe: Recipe, root: Path = Path(), device: str | None = None) -> None:
        check_worker(recipe, root)  # what lies here may have changed since preflight
        section = recipe.section
        chosen = choose_device(device or section.device, "sample_images.device")
        if chosen.partition(":")[0] != recipe.device:
            raise InputError(
                f"sample_images.device: the run is planned for {recipe.device}, and this machine "
                f"would sample on {chosen}; set it to {recipe.device}, or to cpu for all"
            )
        digest, scale = recipe.adapter or (None, 1.0)
        weights = root / "models/lora" / ADAPTER_FILE if digest else None
        self.batch_size = section.batch_size
        self._section = section
        self._pipeline = load_pipeline(section, chosen, root, weights, scale)

    def batches(self, rows: list[Row]) -> Iterator[tuple[slice, np.ndarray, list[Captured]]]:
        """Sample rows; yields which they are, images ``uint8 (N, H, W, 3)`` and attention.

        Raises:
            InputError: the memory does not do for a single image.
        """
        first = 0
        while first < len(rows):
            part = slice(first, min(first + self.batch_size, len(rows)))
            try:
                images, captures = sample_batch(self._pipeline, self._section, rows[part])
            except Exception as error:
                if not _is_out_of_memory(error):
                    prompts = ", ".join(row["prompt_id"] for row in rows[part])
                    error.add_note(f"while sampling the prompts {prompts}")
                    raise
                why = str(error).partition("\n")[0]
            else:
                yield part, images, captures
                first = part.stop
                continue
            self._halve(part.stop - part.start, why)  # here the failed batch's memory is free

    def _halve(self, tried: int, why: str) -> None:
        if tried == 1:
            raise InputError(
                f"sample_images: out of memory with one image at a time ({why}); lower "
                "sample_images.height and width, free the device, or take a larger one"
            )
        self.batch_size = tried // 2
        torch.cuda.empty_cache()
        log.warning(
            "out of memory with %d images at a time (%s); goes on with %d. The index says which "
            "samples: they may differ by rounding from another run's. Set "
            "sample_images.batch_size: %d to have them all alike",
            tried,
            why,
            self.batch_size,
            self.batch_size,
        )


def _is_out_of_memory(error: Exception) -> bool:
    full = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return full or (isinstance(error, RuntimeError) and CPU_IS_FULL in str(error))


class Packing:
    """A shard that is filled batch by batch."""

    def __init__(self, job: SampleJob) -> None:
        self._job = job
        self._file = io.BytesIO()
        self._writer = ShardWriter(self._file)
        self._entries: list[Row] = []

    def add(
        self, part: slice, images: np.ndarray, captures: list[Captured], batch_size: int
    ) -> None:
        """Encode the images ``uint8 (N, H, W, 3)`` and the attention of some rows."""
        for key, image, captured in zip(self._job.ids[part], images, captures, strict=True):
            try:
                files = encode_image(image), captured.encode()
            except Exception as error:
                error.add_note(f"while encoding sample {key} of shard {self._job.name}")
                raise
            entry = {"sample_id": key, "batch_size": batch_size}
            entry |= self._writer.add(f"{key}.png", files[0]).columns("image")
            entry |= self._writer.add(f"{key}.attention.safetensors", files[1]).columns("attention")
            self._entries.append(entry)

    def finish(self) -> Shard:
        """The shard."""
        self._writer.close()
        return Shard(self._file.getvalue(), self._entries)

    def keep(self, store: WorkStore) -> None:
        """Put the shard into the store."""
        store.put(self._job.fingerprint, self.finish())


_held = threading.local()


def _sampler(recipe: Recipe, root: Path, device: str | None) -> Sampler:
    """A worker loads the model once; threads share none, as a pipeline counts its steps."""
    key = (recipe, root, device)
    if getattr(_held, "key", None) != key:
        _held.sampler = Sampler(recipe, root, device)
        _held.key = key
    sampler: Sampler = _held.sampler
    return sampler


def compute_shard(job: SampleJob, root: Path = Path(), device: str | None = None) -> Shard:
    """Sample a shard; where it is done makes no difference on machines of a kind.

    Args:
        job: of `tasks.sample_shards.shard_jobs`.
        root: the repository root; the model and ``models/lora`` are read.
        device: where to; None: as ``sample_images.device`` says.

    Raises:
        InputError: this machine would make other bytes, see `tasks.sample_shards.check_worker`.
    """
    sampler, packing = _sampler(job.recipe, root, device), Packing(job)
    with Background() as background:
        for batch in sampler.batches(job.rows):
            background.do(packing.add, *batch, sampler.batch_size)
    return packing.finish()


def sample_into(store: WorkStore, jobs: Iterable[SampleJob], sampler: Sampler, count: int) -> None:
    """Sample jobs into the store, encoding and writing beside the sampling.

    Args:
        count: of their images.
    """
    with progress("sampling", count, "images") as advance, Background() as background:
        for job in jobs:
            packing = Packing(job)
            for part, images, captures in sampler.batches(job.rows):
                background.do(packing.add, part, images, captures, sampler.batch_size)
                advance(len(images))
            background.do(packing.keep, store)


def plan(params: Params, root: Path = Path()) -> dict[str, int]:
    """Fingerprint of each shard -> how many samples it has, in the order of the index.

    Raises:
        InputError: two rows make the same sample.
    """
    sizes: dict[str, int] = {}
    ids = []
    for job in shard_jobs(params, root):
        sizes[job.fingerprint] = len(job.rows)
        ids.append(np.array([int(key, 16) for key in job.ids], np.uint64))
    if ids and len(np.unique(np.concatenate(ids))) != sum(map(len, ids)):
        raise InputError("data/prompts.parquet: two rows make the same sample; run expand_prompts")
    return sizes


def index_rows(jobs: Iterable[SampleJob], store: WorkStore, root: Path = Path()) -> Iterator[Row]:
    """Link the shards of jobs; yields their rows of the index."""
    for job in jobs:
        finished = store.hand_over(job, root / OUT / "shards" / job.name)
        for row, entry in zip(job.rows, finished.entries, strict=True):
            yield {
                "prompt_id": row["prompt_id"],
                "seed": row["seed"],
                "shard": f"{OUT}/shards/{job.name}",
                "shard_digest": finished.digest,
                **entry,
            }


def run(params: Params, root: Path = Path()) -> None:
    """Write ``data/samples``: the shards and, last, their index.

    Raises:
        InputError: two rows make the same sample, the device is not there or too small, or the
            model or adapter is another than the stages before have recorded.
    """
    store, sizes = WorkStore("sample_images", root), plan(params, root)
    if params.sample_images.guidance_scale <= 1:
        log.info("guidance is off: the whole batch is conditional, and all of it is read")
    shutil.rmtree(root / OUT, ignore_errors=True)
    todo = store.use(list(sizes))
    if todo:
        jobs = (job for job in shard_jobs(params, root) if job.fingerprint in todo)
        sampler = Sampler(read_recipe(params, root), root)
        sample_into(store, jobs, sampler, sum(sizes[each] for each in todo))
    rows = index_rows(shard_jobs(params, root), store, root)
    records.write_rows(root / OUT / "index.parquet", rows, records.SAMPLES)


def main() -> None:
    """Sample the images of data/prompts.parquet and their attention maps: data/samples."""
    run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
