"""Stage ``extract_masks``: attention maps to label maps and per-pixel reliability.

`tasks.masks` makes them. Samples of equal shapes go through in batches; memory does not grow with
their number.
"""

import io
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cyclopts

from tasks import records
from tasks.captures import decode_capture
from tasks.entry import run_stage
from tasks.label_maps import decode
from tasks.mask_shards import MaskJob, check_worker, shard_jobs
from tasks.masks import Mask, Sampled, batches, extract
from tasks.params import Params
from tasks.progress import progress
from tasks.shards import ShardWriter
from tasks.work_store import Shard, WorkStore

OUT = Path("data/masks")
Row = dict[str, Any]


def extract_shard(job: MaskJob, root: Path = Path()) -> list[Mask]:
    """The masks of a shard's samples, in their order.

    Raises:
        InputError: the samples are missing or damaged.
    """
    data = memoryview(job.read(root))
    read = [
        Sampled(
            decode(bytes(_part(data, row, "image"))),
            list(names),
            decode_capture(bytes(_part(data, row, "attention"))),
        )
        for row, names in zip(job.rows, job.names, strict=True)
    ]
    masks: dict[int, Mask] = {}
    for positions in batches(read, job.section.batch_size):
        made = extract([read[i] for i in positions], job.values, job.section)
        masks |= dict(zip(positions, made, strict=True))
    return [masks[i] for i in range(len(read))]


def pack(job: MaskJob, masks: Sequence[Mask]) -> Shard:
    """Encode the masks of a shard's samples."""
    file = io.BytesIO()
    writer = ShardWriter(file)
    entries: list[Row] = []
    for key, mask in zip(job.ids, masks, strict=True):
        entry: Row = {"sample_id": key, "entropy": mask.entropy, "classes": mask.classes}
        for kind, data in mask.files().items():
            entry |= writer.add(f"{key}.{kind}.png", data).columns(kind)
        entries.append(entry)
    writer.close()
    return Shard(file.getvalue(), entries)


def compute_shard(job: MaskJob, root: Path = Path()) -> Shard:
    """Extract a shard; where it is done makes no difference on machines of a kind.

    Args:
        job: of `tasks.mask_shards.shard_jobs`.
        root: the repository root, unless the job brings its samples along.

    Raises:
        InputError: this machine would make other bytes, see `tasks.mask_shards.check_worker`, or
            the samples are missing or damaged.
    """
    check_worker(job)
    return pack(job, extract_shard(job, root))


def index_rows(jobs: Iterable[MaskJob], store: WorkStore, root: Path = Path()) -> Iterator[Row]:
    """Link the shards of jobs; yields their rows of the index."""
    for job in jobs:
        finished = store.hand_over(job, root / OUT / "shards" / job.name)
        for entry in finished.entries:
            shard = {"shard": f"{OUT}/shards/{job.name}", "shard_digest": finished.digest}
            yield shard | entry


def run(params: Params, root: Path = Path()) -> None:
    """Write ``data/masks``: one shard of masks per shard of samples and, last, their index.

    Raises:
        InputError: samples are missing or damaged.
    """
    store = WorkStore("extract_masks", root)
    sizes = {job.fingerprint: len(job.rows) for job in shard_jobs(params, root)}
    shutil.rmtree(root / OUT, ignore_errors=True)
    todo = store.use(list(sizes))
    images = sum(sizes[each] for each in todo)
    with progress("masks", images, "images", enabled=bool(todo)) as advance:
        for job in shard_jobs(params, root):
            if job.fingerprint in todo:
                store.put(job.fingerprint, compute_shard(job, root))
                advance(len(job.rows))
    rows = index_rows(shard_jobs(params, root), store, root)
    records.write_rows(root / OUT / "index.parquet", rows, records.MASKS)


def _part(shard: memoryview, row: Row, kind: str) -> memoryview:
    return shard[row[f"{kind}_offset"] :][: row[f"{kind}_size"]]


def main() -> None:
    """Turn attention maps into label maps and reliability: data/masks."""
    run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
