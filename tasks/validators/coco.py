"""COCO's trees: images in folders, annotations in JSON.

An annotation file is held in memory while it is checked, as pycocotools does; images are not.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.params import InputError
from tasks.validators.findings import (
    IMAGE_SUFFIXES,
    Blob,
    Classes,
    Entry,
    Finding,
    Outcome,
    Tree,
    is_file,
    is_inside,
    lonely,
)
from tasks.validators.pairs import MAPS, check_image, check_map
from tasks.validators.run_lengths import area

MOST_BYTES = 2**32
PARTS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class Problem:
    """What is wrong with an annotation, and what to do about it."""

    found: str
    remedy: str


@dataclass(frozen=True)
class Annotated:
    """An image with its annotations.

    Attributes:
        image: the file.
        place: the annotation file and the image's id in it.
        size: (width, height) that the annotation file says.
        annotations: as they stand in the file.
        may_be_empty: see `tasks.validators.pairs.Pair`.
        maps: the grey maps of the image.
    """

    image: Blob
    place: str
    size: tuple[Any, Any]
    annotations: list[Any]
    may_be_empty: bool
    maps: tuple[Blob, ...]

    def check(self, classes: Classes) -> Outcome:
        """See `tasks.validators.findings.Entry.check`."""
        outcome = Outcome(images=1)
        size = check_image(self.image, outcome.findings)
        for one in self.maps:
            check_map(one, size, outcome.findings)
        if size is None:
            return outcome
        if size != self.size:
            outcome.findings.append(
                Finding(
                    self.image.name,
                    "size",
                    f"{size[0]}x{size[1]}, and {self.place} says {self.size[0]}x{self.size[1]}",
                    "correct width and height, and make the masks again",
                )
            )
        for annotation in self.annotations:
            problem, pixels = check_annotation(annotation, size, classes)
            if problem:
                known = annotation.get("id") if isinstance(annotation, dict) else None
                place = f"{self.place}, annotation {known}"
                outcome.findings.append(Finding(place, "annotation", problem.found, problem.remedy))
            else:
                value = annotation["category_id"]
                outcome.pixels[value] = outcome.pixels.get(value, 0) + pixels
        if not self.annotations and not self.may_be_empty:
            outcome.findings.append(
                Finding(self.image.name, "empty", "no annotation", "annotate it, or leave it out")
            )
        return outcome


def check_annotation(
    annotation: Any, size: tuple[int, int], classes: Classes
) -> tuple[Problem | None, int]:
    """The first thing that is wrong with an annotation, and its pixels.

    Args:
        annotation: as it stands in the file.
        size: (width, height) of the image.
        classes: the categories by id.
    """
    width, height = size
    if not isinstance(annotation, dict):
        return Problem("is no object", "write it again"), 0
    category = annotation.get("category_id")
    if not isinstance(category, int) or category not in classes.names:
        return Problem(f"category_id {category!r}", "use the id of a category"), 0
    box = annotation.get("bbox")
    if box is not None:
        if not (isinstance(box, list) and len(box) == 4 and all(map(_number, box))):
            return Problem(f"bbox {box!r}", "write [x, y, width, height]"), 0
        x, y, wide, high = box
        if min(x, y) < -1 or x + wide > width + 1 or y + high > height + 1:
            return Problem(f"bbox {box} of an image {width}x{height}", "clip it to the image"), 0
    shape = annotation.get("segmentation")
    if isinstance(shape, dict):
        try:
            pixels = area(shape, height, width)
        except ValueError as error:
            return Problem(str(error), "encode the mask again, by pycocotools.mask.encode"), 0
        if not pixels:
            return Problem("a mask without pixels", "remove it"), 0
        said = annotation.get("area")
        if said is not None and (not _number(said) or abs(said - pixels) > 0.5):
            return Problem(f"area {said!r} of a mask with {pixels} pixels", "correct it"), 0
        return None, pixels
    if isinstance(shape, list) and shape:
        for polygon in shape:
            if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
                return Problem("a polygon of fewer than three points", "remove it"), 0
            if not all(map(_number, polygon)):
                return Problem("a polygon with something else than numbers", "write it again"), 0
            if (
                min(polygon) < -1
                or max(polygon[::2]) > width + 1
                or max(polygon[1::2]) > height + 1
            ):
                return Problem("a polygon that leaves the image", "clip it to the image"), 0
        said = annotation.get("area", 0)
        return None, int(said) if _number(said) else 0
    return Problem("no segmentation", "add a mask, or leave the annotation out"), 0


def find_annotations(tree: Path) -> list[Path]:
    """JSON files of a tree that may hold annotations."""
    folder = tree / "annotations"
    return sorted((folder if folder.is_dir() else tree).glob("*.json"))


def open_coco(tree: Path) -> Tree:
    """The annotation files of a tree; others, such as captions, are passed over.

    Raises:
        InputError: none of them has masks.
    """
    named: dict[int, str] = {}
    found: list[tuple[Path, dict[str, Any]]] = []
    problems: list[Finding] = []
    for path in find_annotations(tree):
        shown = path.relative_to(tree).as_posix()
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ValueError(f"more than {MOST_BYTES} bytes")
            content = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            what = str(error) or type(error).__name__
            problems.append(Finding(shown, "unreadable", what, "write it again"))
            continue
        if isinstance(content, dict) and all(isinstance(content.get(p), list) for p in PARTS):
            found.append((path, content))
            for category in content["categories"]:
                if isinstance(category, dict) and isinstance(category.get("id"), int):
                    named.setdefault(category["id"], str(category.get("name", "")))
    if not found and not problems:
        raise InputError(
            f"{tree}: no JSON with {', '.join(PARTS)}; --format coco needs annotations/*.json"
        )
    total = sum(len(content["images"]) for _, content in found)
    classes = Classes(named, has_background=False)
    return Tree("coco", classes, total, _entries(tree, found, problems))


def _entries(
    tree: Path,
    found: list[tuple[Path, dict[str, Any]]],
    problems: list[Finding],
) -> Iterator[Entry | Finding]:
    yield from problems
    listed: dict[Path, set[str]] = {}
    while found:
        path, content = found.pop(0)  # and let go of it when it is done
        root = _image_root(tree, path, content["images"])
        yield from _file(tree, path, content, root, listed.setdefault(root, set()))
    for root, names in listed.items():
        if root == tree:
            continue  # maps and other pictures may lie there
        for folder, _, files in os.walk(root):
            for name in sorted(files):
                file = Path(folder, name)
                if file.suffix.lower() in IMAGE_SUFFIXES:
                    below = file.relative_to(root).as_posix()
                    if below not in names:
                        shown = file.relative_to(tree).as_posix()
                        yield lonely(shown, "in no annotation file", "list it, or remove it")


def _image_root(tree: Path, path: Path, images: list[Any]) -> Path:
    """The folder that file names are relative to: of those there are, where the first one lies.

    None outside the tree: a file ``instances_...json`` would name its parent.
    """
    split = path.stem.rpartition("_")[2]
    named = [tree / split, tree / "images" / split] if is_inside(split) else []
    candidates = [*named, tree / "images", tree / "data", tree]
    names = [one.get("file_name") for one in images if isinstance(one, dict)]
    first = next((name for name in names if isinstance(name, str) and is_inside(name)), "")
    for folder in candidates:
        if first and is_file(folder / first):
            return folder
    return next((folder for folder in candidates if folder.is_dir()), tree)


def _file(
    tree: Path,
    path: Path,
    content: dict[str, Any],
    root: Path,
    listed: set[str],
) -> Iterator[Entry | Finding]:
    shown = path.relative_to(tree).as_posix()
    folders = [folder for kind in MAPS if (folder := tree / kind / root.relative_to(tree)).is_dir()]
    of_image: dict[Any, list[Any]] = {}
    ids: set[Any] = set()
    for image in content["images"]:
        known = image.get("id") if isinstance(image, dict) else None
        if not isinstance(known, int) or known in of_image:
            yield Finding(shown, "annotation", f"image id {known!r}", "give each its own integer")
        else:
            of_image[known] = []
    for annotation in content["annotations"]:
        known = annotation.get("id") if isinstance(annotation, dict) else None
        image = annotation.get("image_id") if isinstance(annotation, dict) else None
        place = f"{shown}, annotation {known}"
        if not isinstance(known, int) or known in ids:
            yield Finding(place, "annotation", f"id {known!r}", "give each its own integer")
        elif not isinstance(image, int) or image not in of_image:
            yield Finding(place, "annotation", f"image_id {image!r}", "use the id of an image")
        else:
            of_image[image].append(annotation)
        if isinstance(known, int):
            ids.add(known)
    for image in content["images"]:
        if not isinstance(image, dict) or not isinstance(image.get("id"), int):
            continue
        name = image.get("file_name")
        place = f"{shown}, image {image['id']}"
        if not isinstance(name, str) or not is_inside(name):
            yield Finding(place, "name", f"file_name {name!r}", "use a path inside the tree")
            continue
        listed.add(Path(name).as_posix())
        file = root / name
        if not is_file(file):
            where = file.relative_to(tree).as_posix()
            yield lonely(place, f"no file {where}", "add it, or remove its entry")
            continue
        blob = Blob(file.relative_to(tree).as_posix(), file)
        maps = tuple(
            Blob(path.relative_to(tree).as_posix(), path)
            for path in ((folder / name).with_suffix(".png") for folder in folders)
        )
        size = image.get("width"), image.get("height")
        rejected = path.stem.endswith("rejected")
        annotations = of_image.pop(image["id"], [])
        yield Annotated(blob, place, size, annotations, rejected, maps)


def _number(value: Any) -> bool:
    """Whether it is a finite number; bool is none."""
    return type(value) in (int, float) and abs(value) < 2**53
