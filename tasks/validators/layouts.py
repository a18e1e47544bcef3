"""Which layout a tree has, which classes it names, and what reads it."""

import json
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from tasks.params import BACKGROUND_NAME, InputError
from tasks.validators import coco, fiftyone, folders, tables, tars
from tasks.validators.findings import Classes, Finding, Tree

Format = Literal["coco", "fiftyone", "hf", "mmseg", "plain", "voc", "webdataset"]
MANIFEST = "manifest.json"
"""Of our exports."""
CLASS_FILES = (MANIFEST, "classes.json", "../classes.json", "dataset.json", "classes.txt")
OWN_INDEXES = ("index.parquet", "samples/index.parquet")
"""In a folder that a stage wrote, and in the one above."""


def detect(tree: Path) -> Format:
    """The layout of a tree, by the folders and files that it has.

    Raises:
        InputError: none of ours is like it.
    """
    own = _facts(tree / MANIFEST).get("format")
    known: tuple[Format, ...] = ("coco", "fiftyone", "hf", "mmseg", "voc", "webdataset")
    for form in known:
        if own == form:
            return form
    if any((tree / index).is_file() for index in OWN_INDEXES):
        raise InputError(
            f"{tree}: is what the stages keep, not a tree of pairs; `python -m tasks.lineage "
            "check` verifies it, `python -m tasks.export` makes a tree of it"
        )
    if (tree / fiftyone.SAMPLES).is_file() and (tree / folders.FIFTYONE[1]).is_dir():
        return "fiftyone"
    if (tree / folders.VOC_SETS).is_dir():
        return "voc"
    if _plain(tree):
        return "mmseg" if (tree / "img_dir").is_dir() else "plain"
    if any((tree / "annotations").glob("*.json")):
        return "coco"
    if any(tree.rglob("*.tar")):
        return "webdataset"
    if tables.find_tables(tree):
        return "hf"
    if coco.find_annotations(tree):
        return "coco"
    raise InputError(
        f"{tree}: no layout that is known: expected img_dir and ann_dir, images and labels (or "
        "masks or annotations), ImageSets/Segmentation, annotations/*.json, *.tar or *.parquet; "
        "name the folder above them, or the layout with --format"
    )


def read_tree(tree: Path, form: Format, classes: Classes | None) -> Tree:
    """A tree by its layout.

    Args:
        tree: its root.
        form: the layout.
        classes: what label values may be; None: what the tree says.

    Raises:
        InputError: it has not got that layout.
    """
    said = classes or find_classes(tree)
    if form == "coco":
        if classes:
            raise InputError("--classes: is not for COCO, whose files name their categories")
        return coco.open_coco(tree)
    if form == "webdataset":
        return tars.open_shards(tree, said)
    if form == "hf":
        named = tables.class_names(tables.find_tables(tree))
        return tables.open_tables(tree, classes or (to_classes(named) if named else said))
    if form == "voc" and (tree / folders.VOC_SETS).is_dir():
        return folders.open_voc(tree, said)
    pair = folders.FIFTYONE if form == "fiftyone" else _plain(tree)
    if pair is None or not all((tree / folder).is_dir() for folder in pair):
        raise InputError(f"{tree}: has no folders of images and label maps as --format {form} has")
    rejected = _facts(tree / MANIFEST).get("samples", {})
    empty = form == "fiftyone" and isinstance(rejected, dict) and folders.REJECTED in rejected
    found = folders.open_plain(tree, *pair, said, form, may_be_empty=empty)
    if form != "fiftyone":
        return found
    return replace(found, entries=chain(fiftyone.listed(tree, pair[0]), found.entries))


def missing(tree: Path, images: int) -> Finding | None:
    """What an export's manifest says of images that are not there: a shard that got lost.

    Args:
        tree: its root.
        images: how many were found.
    """
    facts = _facts(tree / MANIFEST)
    samples = facts.get("samples") if "made_by" in facts else None  # another tool's mean else
    counts = samples.values() if isinstance(samples, dict) else ()
    said = sum(count for count in counts if isinstance(count, int))
    if images >= said:
        return None
    return Finding(
        MANIFEST, "count", f"{said} images, and {images} are here", "export again, or copy them all"
    )


def to_classes(names: Any) -> Classes:
    """Classes by their names in the order of label values."""
    listed = tuple(str(name) for name in names)
    first = listed[0].strip("_ ").lower() if listed else BACKGROUND_NAME
    return Classes(dict(enumerate(listed)), first == BACKGROUND_NAME)


def find_classes(tree: Path) -> Classes:
    """The classes that a tree names in one of `CLASS_FILES`; none if there is no such file."""
    for name in CLASS_FILES:
        path = tree / name
        if path.suffix == ".txt" and path.is_file():
            return to_classes(path.read_text(encoding="utf-8", errors="replace").splitlines())
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if path.name == "dataset.json" and isinstance(content, dict):
            first = next((one for one in content.values() if isinstance(one, dict)), {})
            content = first.get("metainfo")
        names = content.get("classes") if isinstance(content, dict) else content
        if isinstance(names, list) and names:
            return to_classes(names)
    return Classes()


def given_classes(value: str) -> Classes:
    """What ``--classes`` says.

    Raises:
        InputError: it is neither a number nor a list in a file.
    """
    if value.isdecimal() and int(value) > 0:
        return Classes(dict.fromkeys(range(int(value)), ""))
    path = Path(value)
    try:
        text = path.read_text(encoding="utf-8")
        names = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        raise InputError(
            f"--classes: {value}: {error}; give the number of label values, or a file with a name "
            "a line or a JSON list"
        ) from None
    if not isinstance(names, list) or not names:
        raise InputError(f"--classes: {value}: is no list of names by label value")
    return to_classes(names)


def _facts(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _plain(tree: Path) -> tuple[str, str] | None:
    for images, labels in folders.PLAIN:
        if (tree / images).is_dir() and (tree / labels).is_dir():
            annotations = labels == "annotations" and any((tree / labels).glob("*.json"))
            if not annotations:  # that is COCO
                return images, labels
    return None
