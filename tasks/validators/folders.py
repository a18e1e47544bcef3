"""Trees of loose files: PASCAL VOC, MMSegmentation, FiftyOne, and plain ``images`` and ``labels``.

An image and its label map have one path below their folders, suffixes aside. A folder's names are
held while it is walked, its pictures are not.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tasks.validators.findings import (
    IMAGE_SUFFIXES,
    Blob,
    Classes,
    Entry,
    Finding,
    Tree,
    is_inside,
    lonely,
)
from tasks.validators.pairs import MAPS, Pair

VOC = ("JPEGImages", "SegmentationClass")
VOC_SETS = "ImageSets/Segmentation"
FIFTYONE = ("data", "fields/ground_truth")
PLAIN = (
    ("img_dir", "ann_dir"),
    ("images", "labels"),
    ("images", "masks"),
    ("images", "annotations"),
    ("JPEGImages", "SegmentationClass"),
)
"""Folders of images and of their label maps."""
REJECTED = "rejected"


def map_folders(tree: Path, images: str) -> list[Path]:
    """Folders of grey maps, as our exports name them."""
    forms = {"img_dir": "{}_dir", "data": "fields/{}"}
    names = [forms.get(images, "{}").format(kind) for kind in MAPS]
    folders = [tree / name for name in names] + [tree / name.title() for name in names]
    return [folder for folder in folders if folder.is_dir()]


def open_plain(
    tree: Path,
    images: str,
    labels: str,
    classes: Classes,
    form: str,
    *,
    may_be_empty: bool = False,
) -> Tree:
    """Folders of images and label maps, sub-folders included.

    Args:
        tree: the root.
        images: folder of images below it.
        labels: folder of label maps.
        classes: what label values may be.
        form: what to call the layout.
        may_be_empty: see `Pair`; the sub-folder of rejected samples always may.
    """
    maps = map_folders(tree, images)
    total = sum(len(stems) for _, stems in _walk(tree / images))
    entries = _pairs(tree, tree / images, tree / labels, maps, may_be_empty)
    return Tree(form, classes, total, entries)


def _walk(folder: Path) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """Each sub-folder as (relative path, stem -> names of picture files), sorted."""
    for path, folders, names in os.walk(folder):
        folders.sort()
        stems: dict[str, list[str]] = {}
        for name in sorted(names):
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith("."):
                stems.setdefault(Path(name).stem, []).append(name)
        yield os.path.relpath(path, folder), stems


def _stems(folder: Path) -> dict[str, list[str]]:
    return next(_walk(folder), (".", {}))[1]


def _pairs(
    tree: Path, images: Path, labels: Path, maps: list[Path], may_be_empty: bool
) -> Iterator[Entry | Finding]:
    for below, found in _walk(images):
        labelled = _stems(labels / below)
        mapped = [(folder, _stems(folder / below)) for folder in maps]
        for stem, names in found.items():
            path = images / below / names[0]
            shown = path.relative_to(tree).as_posix()
            if len(names) > 1:
                yield Finding(
                    shown,
                    "pair",
                    f"{len(names)} images of one name: {', '.join(names)}",
                    "rename or remove one",
                )
            elif stem not in labelled:
                wanted = (labels / below / f"{stem}.png").relative_to(tree).as_posix()
                yield lonely(shown, "no label map", f"add {wanted}, or remove the image")
            else:
                label = labels / below / labelled[stem][0]
                beside = []
                for folder, has in mapped:
                    if stem in has:
                        beside.append(_blob(tree, folder / below / has[stem][0]))
                    else:
                        kind = folder.relative_to(tree).as_posix()
                        yield lonely(shown, f"no map in {kind}", "add it, or remove that folder")
                empty = may_be_empty or REJECTED in Path(below).parts
                yield Pair(_blob(tree, path), _blob(tree, label), tuple(beside), empty)
    for below, labelled in _walk(labels):
        for stem in sorted(labelled.keys() - _stems(images / below).keys()):
            path = labels / below / labelled[stem][0]
            shown = path.relative_to(tree).as_posix()
            yield lonely(shown, "no image", "add its image, or remove the label map")


def open_voc(tree: Path, classes: Classes) -> Tree:
    """A tree of VOC with lists of names; VOC's own has many images that are in none.

    A list ``trainval`` is not read where there is a ``train``.
    """
    lists = sorted((tree / VOC_SETS).glob("*.txt"))
    if any(path.stem == "train" for path in lists):
        lists = [path for path in lists if path.stem != "trainval"]
    total = sum(sum(1 for _ in _names(path)) for path in lists)
    return Tree("voc", classes, total, _listed(tree, lists))


def _names(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if name := line.strip():
                yield name


def _listed(tree: Path, lists: list[Path]) -> Iterator[Entry | Finding]:
    images, labels = (_stems(tree / folder) for folder in VOC)
    maps = [(folder, _stems(folder)) for folder in map_folders(tree, VOC[0])]
    seen: Counter[str] = Counter()
    for path in lists:
        shown = path.relative_to(tree).as_posix()
        for name in _names(path):
            seen[name] += 1
            if not is_inside(name):
                yield Finding(shown, "name", f"{name!r} leads outside", "list plain names")
            elif seen[name] > 1:
                if seen[name] == 2:
                    yield Finding(shown, "pair", f"{name} is listed twice", "list it once")
            elif name not in images:
                yield lonely(shown, f"{name} has no image", f"add it to {VOC[0]}, or unlist it")
            elif name not in labels:
                yield lonely(shown, f"{name} has no label map", f"add it to {VOC[1]}, or unlist it")
            else:
                beside = tuple(
                    _blob(tree, folder / has[name][0]) for folder, has in maps if name in has
                )
                yield Pair(
                    _blob(tree, tree / VOC[0] / images[name][0]),
                    _blob(tree, tree / VOC[1] / labels[name][0]),
                    beside,
                    path.stem == REJECTED,
                )
    for name in sorted(labels.keys() - seen.keys()):
        found = "in no list" if name in images else "no image, and in no list"
        yield lonely(f"{VOC[1]}/{labels[name][0]}", found, f"list it in {VOC_SETS}, or remove it")


def _blob(tree: Path, path: Path) -> Blob:
    return Blob(path.relative_to(tree).as_posix(), path)
