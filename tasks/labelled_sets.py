"""Labelled sets: a folder with ``images/`` and ``labels/``, and whether its files keep the rules.

``labels/<stem>.png`` belongs to ``images/<stem>.png`` or ``.jpg``: one channel of 8 bits, or of 16
where there are more classes than 8 can tell apart: 0 for the background and then the classes in
order, or, with ``expand_prompts.background: none``, the classes from 0; 255, in 16 bits 65535,
where nothing is said. The image is turned as its EXIF data say, the label is not. A
``classes.json`` in the folder or the one above it may list the names by label value. Imports no
torch.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tasks.label_maps import MOST_LABELS, ignore_value
from tasks.params import BACKGROUND_NAME, InputError
from tasks.progress import progress

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
STORYBOOK = Path("data/storybook")
"""What `tasks.render_storybook` makes."""
STORYBOOK_SETS = ("train", "val", "test")
SHOWN = 10
"""Names in a message; the others are counted."""


@dataclass(frozen=True)
class Pair:
    """An image and its label map."""

    image: Path
    label: Path


def some(names: Iterable[str]) -> str:
    """The first names in a list, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more


def inside_storybook(value: str, root: Path) -> Path | None:
    """The path below ``data/storybook``, or None for one that lies elsewhere."""
    path, storybook = (Path(os.path.abspath(root / part)) for part in (value, STORYBOOK))
    return path.relative_to(storybook) if path.is_relative_to(storybook) else None


def list_pairs(folder: Path) -> list[Pair]:
    """The images of a set with their labels, sorted by name.

    Raises:
        InputError: a folder is missing or empty, or an image has no label or a name that another
            image has too; all names are listed together.
    """
    for part in (folder, folder / "images", folder / "labels"):
        if not part.is_dir():
            raise InputError(
                f"{part}: no such folder; a labelled set holds images/ and labels/ (write none if "
                "you have none)"
            )
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in sorted((folder / "images").iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            by_stem[path.stem].append(path)
    if not by_stem:
        raise InputError(f"{folder / 'images'}: holds no {', '.join(IMAGE_SUFFIXES)} image")
    labels = {path.name for path in (folder / "labels").iterdir()}
    problems = []
    missing = [f"{stem}.png" for stem in by_stem if f"{stem}.png" not in labels]
    if missing:
        problems.append(
            f"{folder / 'labels'}: {len(missing)} of {len(by_stem)} images have no label: "
            f"{some(missing)}; each image needs labels/<same name>.png"
        )
    twice = [stem for stem, paths in by_stem.items() if len(paths) > 1]
    if twice:
        problems.append(
            f"{folder / 'images'}: two images share one name and so one label: {some(twice)}; "
            "rename or remove one"
        )
    if problems:
        raise InputError("\n".join(problems))
    return [Pair(paths[0], folder / "labels" / f"{stem}.png") for stem, paths in by_stem.items()]


def class_list(folder: Path) -> list[str] | None:
    """The set's class names by label value, from ``classes.json`` in it or above it, if any.

    Raises:
        InputError: the file is no JSON list of names.
    """
    for path in (folder / "classes.json", folder.parent / "classes.json"):
        if path.is_file():
            try:
                names = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise InputError(f"{path}: cannot be read: {error}") from None
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise InputError(f"{path}: must be a JSON list of class names by label value")
            return names
    return None


def class_list_problem(set_names: Sequence[str], names: Sequence[str]) -> str | None:
    """Where a set's label values mean other classes than the run's, or None.

    Args:
        set_names: the set's class names by label value.
        names: the run's, `tasks.params.ExpandPrompts.label_names`. More than the set has are fine.
    """
    for value, name in enumerate(set_names):
        ours = names[value] if value < len(names) else "no class"
        if ours == name:
            continue
        there = f"label value {value} is {name!r} in the set and {ours!r} in expand_prompts"
        classes = [each for each in set_names if each != BACKGROUND_NAME]
        order = f"the set's classes in order: {', '.join(classes)}"
        if value == 0 and BACKGROUND_NAME in (name, ours):
            wanted = "rest" if name == BACKGROUND_NAME else "none"
            return f"{there}: the set is for background: {wanted}; {order}"
        return f"{there}.classes; {order}"
    return None


def check_pairs(pairs: Sequence[Pair], class_count: int) -> list[str]:
    """Decode every file; one message for each rule that is broken, naming the files.

    Args:
        pairs: what `list_pairs` found.
        class_count: classes, the background counted; label values lie below it, or are ignored.
    """
    faults: dict[str, list[str]] = defaultdict(list)
    checking = progress("checking labels", len(pairs), "images", enabled=bool(pairs))
    with checking as advance, ThreadPoolExecutor() as pool:
        for rule, name in pool.map(lambda pair: _fault(pair, class_count), pairs):
            if rule:
                faults[rule].append(name)
            advance(1)
    return [f"{rule}: {some(names)}" for rule, names in faults.items()]


def _fault(pair: Pair, class_count: int) -> tuple[str, str]:
    """The rule that a pair breaks and what to show of it; two empty strings if it breaks none."""
    arrays = []
    for path in (pair.image, pair.label):
        try:
            with Image.open(path) as image:
                # OpenCV turns a picture as its EXIF data say, and leaves a label as it lies.
                seen = ImageOps.exif_transpose(image) if path == pair.image else image
                if path == pair.image and _see_through(seen):
                    rule = "images must be opaque: training would show what transparency hides"
                    return f"{rule}; lay them over a colour", str(path)
                mode, array = image.mode, np.array(seen)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            what = str(error).replace(str(path), "").strip(" ':") or type(error).__name__
            return "cannot be read; replace or remove", f"{path} ({what})"
        arrays.append(array)
    image_size, label_size = arrays[0].shape[:2], arrays[1].shape[:2]
    wide = class_count > MOST_LABELS[np.dtype(np.uint8)]
    if mode not in (("P", "L", "I;16") if wide else ("P", "L")):
        bits = "8-bit or 16-bit" if wide else "8-bit"
        return f"labels must be {bits} with one channel, palette or grey", f"{pair.label} ({mode})"
    if image_size != label_size:
        sizes = " and ".join(f"{width}x{height}" for height, width in (image_size, label_size))
        return "image and label must be of one size", f"{pair.image.name} ({sizes})"
    ignore = ignore_value(arrays[1].dtype)
    found = np.unique(arrays[1])
    wrong = found[(found >= class_count) & (found != ignore)]
    if wrong.size:
        rule = f"label values must be 0..{class_count - 1} or {ignore}, by expand_prompts.classes"
        return rule, f"{pair.label.name} ({', '.join(map(str, wrong[:4]))})"
    return "", ""


def _see_through(image: Image.Image) -> bool:
    return image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (
        255,
        255,
    )
