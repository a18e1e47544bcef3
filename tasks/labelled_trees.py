"""Bring a public labelled tree into the form of a labelled set: ``images/`` and ``labels/``.

    python -m tasks.labelled_trees voc12 VOCdevkit/VOC2012 data/voc12/val --split val
    python -m tasks.labelled_trees cityscapes data/cityscapes data/cityscapes/val --split val
    python -m tasks.labelled_trees imagenet_s ImageNetS50 data/imagenet_s/50/val --split validation
    python -m tasks.labelled_trees camvid CamVid data/camvid/val --split val

Images are hard links where the file system allows, else copies. Labels become what
`tasks.labelled_sets` describes: VOC's as they are; Cityscapes' ids its train ids, what has none
255; ImageNet-S's R + 256 G, its 1000 ignored, in 16 bits where 8 do not do; CamVid's of eleven
classes, its 11, unlabelled, 255.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import cyclopts
import numpy as np
from cyclopts import Parameter
from PIL import Image

from tasks.durable import partial_name
from tasks.entry import run_tool
from tasks.label_maps import encode_label, ignore_value, label_dtype
from tasks.labelled_sets import IMAGE_SUFFIXES, some
from tasks.params import InputError
from tasks.progress import progress
from tasks.validators.findings import is_file, is_inside
from tasks.validators.pairs import UNREADABLE
from tasks.version import project_version

TRAIN_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Cityscapes' ids in the order of its train ids (cityscapesscripts, helpers/labels.py)."""
IMAGENET_S_IGNORED = 1000
CAMVID_CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign_symbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
"""By label value, of CamVid in the eleven classes that it is measured in."""
CAMVID_UNLABELLED = 11

UNFIT: tuple[type[Exception], ...] = (*UNREADABLE, IndexError)
"""What reading and converting raise of a file that is damaged or no label of its tree."""

Layout = Literal["voc12", "cityscapes", "imagenet_s", "camvid"]
Files = Iterator[tuple[str, Path, Path]]
"""Stem, image and label of each entry."""

app = cyclopts.App(name="python -m tasks.labelled_trees", version=project_version)


def voc12_files(source: Path, split: str) -> Files:
    """The entries of a split of a VOC tree.

    Raises:
        InputError: the split has no list, or one that is no text or holds what is no name.
    """
    names = source / "ImageSets/Segmentation" / f"{split}.txt"
    if not is_file(names):
        raise InputError(
            f"{names}: no such file; give the folder that holds ImageSets, and a split"
        )
    try:
        lines = names.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{names}: is not text ({error}); write names in UTF-8") from None
    for number, line in enumerate(lines, start=1):
        for stem in line.split():
            if "/" in stem or not is_inside(stem):
                raise InputError(
                    f"{names}: line {number}: {stem!r} is a path; write the name of an image "
                    "alone, such as 2007_000033"
                )
            yield stem, source / f"JPEGImages/{stem}.jpg", source / f"SegmentationClass/{stem}.png"


def cityscapes_files(source: Path, split: str) -> Files:
    """The entries of a split of Cityscapes' fine labels."""
    for image in sorted((source / "leftImg8bit" / split).glob("*/*_leftImg8bit.png")):
        stem = image.name.removesuffix("_leftImg8bit.png")
        label = source / "gtFine" / split / image.parent.name / f"{stem}_gtFine_labelIds.png"
        yield stem, image, label


def imagenet_s_files(source: Path, split: str) -> Files:
    """The entries of a split of ImageNet-S that have a label."""
    for label in sorted((source / f"{split}-segmentation").glob("n*/*.png")):
        yield label.stem, source / split / label.parent.name / f"{label.stem}.JPEG", label


def camvid_files(source: Path, split: str) -> Files:
    """The entries of a split of CamVid in images/ and labels/."""
    for image in sorted((source / split / "images").glob("*")):
        if image.suffix.lower() in IMAGE_SUFFIXES:
            yield image.stem, image, source / split / "labels" / f"{image.stem}.png"


def voc12_label(label: np.ndarray, _classes: int) -> np.ndarray:
    """VOC's label ``uint8 (H, W)`` as it is."""
    return label


def cityscapes_label(label: np.ndarray, _classes: int) -> np.ndarray:
    """Train ids of Cityscapes' ids, both ``uint8 (H, W)``."""
    table = np.full(256, ignore_value(np.dtype(np.uint8)), np.uint8)
    table[list(TRAIN_IDS)] = np.arange(len(TRAIN_IDS))
    found: np.ndarray = table[label]
    return found


def imagenet_s_label(label: np.ndarray, classes: int) -> np.ndarray:
    """The classes of an RGB label ``uint8 (H, W, 3)``: ``(H, W)`` in as many bits as they need."""
    values = label[..., 0].astype(np.uint16) + 256 * label[..., 1].astype(np.uint16)
    dtype = label_dtype(classes + 1)
    ignored = values == IMAGENET_S_IGNORED
    return np.where(ignored, ignore_value(dtype), values).astype(dtype)


def camvid_label(label: np.ndarray, _classes: int) -> np.ndarray:
    """CamVid's label ``uint8 (H, W)``, its unlabelled pixels ignored."""
    return np.where(label == CAMVID_UNLABELLED, ignore_value(label.dtype), label)


LAYOUTS: dict[
    Layout, tuple[Callable[[Path, str], Files], Callable[[np.ndarray, int], np.ndarray]]
] = {
    "voc12": (voc12_files, voc12_label),
    "cityscapes": (cityscapes_files, cityscapes_label),
    "imagenet_s": (imagenet_s_files, imagenet_s_label),
    "camvid": (camvid_files, camvid_label),
}


def class_names(layout: Layout) -> list[str] | None:
    """The names by label value, as MMSegmentation lists them; None where the run's list says it.

    MMSegmentation has no list of CamVid's.
    """
    if layout == "imagenet_s":
        return None
    if layout == "camvid":
        return list(CAMVID_CLASSES)
    from mmseg.datasets import CityscapesDataset, PascalVOCDataset  # slow to import

    dataset = {"voc12": PascalVOCDataset, "cityscapes": CityscapesDataset}[layout]
    return list(dataset.METAINFO["classes"])


def arrange(layout: Layout, source: Path, out: Path, split: str) -> int:
    """Make a labelled set of a split.

    Returns:
        How many images it has.

    Raises:
        InputError: ``out`` is not empty or no folder, the tree lacks the split, an image or a
            label, two images have one name, or a label cannot be read; nothing is left written.
    """
    blocking = [path for path in (out, *out.parents) if path.exists() and not path.is_dir()]
    if blocking:
        raise InputError(f"{blocking[0]}: is a file; name a new folder")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty; name a new folder, or remove it")
    entries = list(LAYOUTS[layout][0](source, split))
    if not entries:
        raise InputError(f"{source}: holds no labelled image of the split {split} for {layout}")
    missing = [str(path) for entry in entries for path in entry[1:] if not is_file(path)]
    if missing:
        raise InputError(
            f"{source}: is not whole, {len(missing)} files are missing: {some(missing)}"
        )
    repeated = [stem for stem, count in Counter(entry[0] for entry in entries).items() if count > 1]
    if repeated:
        raise InputError(
            f"{source}: {len(repeated)} names are of more than one image: {some(repeated)}; "
            "an image of a labelled set needs a name of its own, so rename them or list them once"
        )
    target = out.resolve()  # "." has no name to make another beside; a link stays one
    unfinished = partial_name(target)
    try:
        _write(layout, entries, unfinished)
        try:
            unfinished.replace(target)
        except OSError as error:
            raise InputError(
                f"{out}: a finished folder cannot take its place ({error.strerror}); name a new one"
            ) from None
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return len(entries)


def _write(layout: Layout, entries: list[tuple[str, Path, Path]], out: Path) -> None:
    """Write the set to a folder that is not there yet."""
    for part in ("images", "labels"):
        (out / part).mkdir(parents=True)
    names = class_names(layout)
    if names:
        (out / "classes.json").write_text(json.dumps(names), encoding="utf-8")
    classes = len({label.parent for _, _, label in entries})  # a folder each, in ImageNet-S
    with progress("arranging", len(entries), "images") as advance:
        for stem, image, label in entries:
            (out / "labels" / f"{stem}.png").write_bytes(_label(layout, label, classes))
            link_or_copy(image, out / "images" / f"{stem}{image.suffix}")
            advance(1)


def _label(layout: Layout, path: Path, classes: int) -> bytes:
    """A label of a tree as the set holds it.

    Raises:
        InputError: it cannot be read, or is of another form than the tree's labels.
    """
    try:
        with Image.open(path) as opened:
            return encode_label(LAYOUTS[layout][1](np.array(opened), classes))
    except UNFIT as error:
        what = str(error).replace(str(path), "").strip(" ':") or type(error).__name__
        raise InputError(
            f"{path}: is no label of {layout}: {what}; fetch it again, or leave out its image"
        ) from None


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link of a file, or a copy where that cannot be."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


@app.default
def main(
    layout: Annotated[Layout, Parameter(help="what the tree is")],
    source: Annotated[
        Path, Parameter(help="its folder: that of ImageSets, leftImg8bit or the splits")
    ],
    out: Annotated[Path, Parameter(help="the folder to write; new or empty")],
    /,
    *,
    split: Annotated[str, Parameter(help="the split, as the tree calls it")],
) -> None:
    """Bring a split of a public labelled tree into images/ and labels/."""
    count = arrange(layout, source, out, split)
    print(f"{out}: {count} images with labels; name it as evaluate_segmenter.test_set")


if __name__ == "__main__":
    run_tool(app)
