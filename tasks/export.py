"""Export the dataset to a format that other tools open.

    python -m tasks.export voc exported
    python -m tasks.export hf exported --split train --masks label

Beside the pictures lie ``manifest.json``, ``README.md`` and the dataset's rows with their verdicts.
Every image carries its provenance. The formats are in `tasks.exporters`, a module each.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import cyclopts
from cyclopts import Parameter

from tasks.entry import run_tool
from tasks.exporters import coco, fiftyone, hf, mmseg, voc, webdataset
from tasks.exporters.manifest import MADE_BY, MANIFEST, describe, manifest
from tasks.exporters.origin import read_origin
from tasks.exporters.source import Map, Sample, Source, Split
from tasks.output_paths import check_writable
from tasks.params import InputError
from tasks.progress import Advance, progress
from tasks.records import read_json
from tasks.revisions import WORKSPACE, Revision
from tasks.version import project_version

log = logging.getLogger(__name__)

FORMATS = {
    "coco": coco,
    "fiftyone": fiftyone,
    "hf": hf,
    "mmseg": mmseg,
    "voc": voc,
    "webdataset": webdataset,
}
Format = Literal["coco", "fiftyone", "hf", "mmseg", "voc", "webdataset"]

MARK = ".unfinished-export"
"""A file by which what a stopped export left is known as such."""

FLAG = Parameter(negative="")
SEVERAL = Parameter(consume_multiple=True, negative="")

app = cyclopts.App(name="python -m tasks.export", version=project_version)


def check_out(out: Path, overwrite: bool, root: Path = Path()) -> None:
    """Whether an export may go to ``out``, and be written beside it first.

    Args:
        out: the folder.
        overwrite: whether an export there may be replaced.
        root: of the pipeline, whose outputs are nobody else's place.

    Raises:
        InputError: something is there that must not be replaced, or a stage empties the place.
    """
    check_writable(out)
    _check_place(out, root)
    partial = partial_of(out)
    if partial.exists() and not _is_partial(partial):
        raise InputError(
            f"{partial}: is written to first, but was not left by a stopped export; choose another "
            "folder, or move it away"
        )
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise InputError(
            f"{out}: exists and is no empty folder; choose another, or replace an export with "
            "--overwrite"
        )
    if not _is_export(out):
        raise InputError(
            f"{out}: is not replaced, as it is no export: it has no {MANIFEST} of this command; "
            "choose another folder, or remove it yourself"
        )


def _check_place(out: Path, root: Path) -> None:
    """Refuse a folder inside of a stage's output, which goes when the stage runs again."""
    here = Revision(WORKSPACE, None, root)
    below = Path(os.path.relpath(out.resolve(), root.resolve())).as_posix()
    owner = here.owner(below) if here.locked_stages else None
    if owner:
        raise InputError(
            f"{out}: lies in {owner.path}, which {here.maker[owner.path]} writes and empties; "
            "choose a folder outside"
        )


def partial_of(out: Path) -> Path:
    """Where an export is written until it is whole."""
    return out.with_name(f"{out.name}.partial")


def _is_partial(folder: Path) -> bool:
    return (folder / MARK).is_file() or _is_export(folder)  # whole, and not renamed yet


def _is_export(folder: Path) -> bool:
    try:
        facts = read_json(folder / MANIFEST)
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get("made_by") == MADE_BY


def export(name: Format, source: Source, out: Path) -> dict[str, int]:
    """Write an export; it appears under its name when it is whole.

    Args:
        name: of the format.
        source: what to export.
        out: is replaced if it is there, as is what a stopped export left; see `check_out`.

    Returns:
        The number of samples by split.

    Raises:
        InputError: nothing of it is asked for, or its tables do not belong together.
    """
    labels = source.labels()
    counts = source.count()
    splits = counts[0]
    damaged = source.damaged()
    if damaged:
        log.warning(
            "left out, as they are damaged: %d samples, such as %s", len(damaged), damaged[0]
        )
    if not splits:
        raise InputError(
            f"--split {' '.join(source.splits)}: no sample of data/dataset is kept in there; "
            "choose another split, or take rejected samples too with --include-rejected"
        )
    partial = partial_of(out)
    if _is_partial(partial):
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    (partial / MARK).touch()
    module = FORMATS[name]
    try:
        with progress("export", splits.total(), "images") as advance:
            module.write(_told(source.samples(), advance), partial, labels)
    except InputError:  # a refusal, which running again would only repeat
        shutil.rmtree(partial)
        raise
    head = hf.card(sorted(splits)) if name == "hf" else None
    facts = manifest(name, source, labels, counts)
    describe(partial, facts, module.OPENING, head, source)
    (partial / MARK).unlink()
    # The old one is moved aside, and removed when the new one is in its place.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f"{out.name}.old-") as aside:
        old = Path(aside, out.name)
        if out.exists():
            out.rename(old)
        try:
            partial.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
    return dict(splits)


def _told(samples: Iterator[Sample], advance: Advance) -> Iterator[Sample]:
    for sample in samples:
        yield sample
        advance(1)


@app.default
def main(
    form: Annotated[Format, Parameter(name="FORMAT", show_choices=False)],
    out: Annotated[Path, Parameter(name="OUT")],
    *,
    split: Annotated[tuple[Split, ...], SEVERAL] = ("train", "val"),
    include_rejected: Annotated[bool, FLAG] = False,
    masks: Annotated[tuple[Map, ...], SEVERAL] = ("label", "reliability"),
    jpeg: Annotated[bool, FLAG] = False,
    overwrite: Annotated[bool, FLAG] = False,
) -> None:
    """Export the dataset to a format that other tools open.

    * coco: annotations/*.json with masks as RLE, a folder of images a split
    * fiftyone: FiftyOneDataset: metadata.json, samples.json, data, fields
    * hf: Parquet with pictures inside, for datasets.load_dataset(OUT)
    * mmseg: img_dir and ann_dir for MMSegmentation, with a config
    * voc: PASCAL VOC's JPEGImages, SegmentationClass and ImageSets
    * webdataset: tar shards with the exported samples only

    All keep the label values exactly, ignored pixels (255, or 65535 of 16-bit labels) included, and
    write the provenance of each image into its file. OUT appears when it is whole; what a stopped
    export leaves, OUT.partial, is replaced by the next one. Check the result, or any other tree,
    with `python -m tasks.validate OUT`.

    Args:
        form: coco, fiftyone, hf, mmseg, voc or webdataset.
        out: the folder to write; new or empty.
        split: of the kept samples: train, val or both, one after the other.
        include_rejected: take rejected samples too, as a split of their own, "rejected"; damaged
            ones are left out.
        masks: what to write of each sample: label (always), reliability, uncertainty.
        jpeg: write images as JPEG of quality 95 instead of lossless PNG; maps are always PNG.
        overwrite: replace OUT if it is an earlier export.
    """
    root = Path()
    if out.name in ("", ".."):  # ``.`` has no name to be written beside
        out = Path(os.path.abspath(out))
    check_out(out, overwrite, root)
    source = Source(root, read_origin(root), split, include_rejected, masks, jpeg)
    splits = export(form, source, out)
    written = ", ".join(f"{count} {name}" for name, count in sorted(splits.items()))
    log.info("%s: %s", out, written)


if __name__ == "__main__":
    run_tool(app)
