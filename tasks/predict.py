"""Label images with a trained network: label maps, overlays and the area of each class.

    python -m tasks.predict photos --out labelled
    python -m tasks.predict "frames/**/*.jpg" --model deeplab.py --checkpoint deeplab.pth

In the output folder lie ``labels/<name>.png`` (palette PNG, see `tasks.label_maps`),
``overlays/<name>.png`` and ``areas.csv``. A name is the image's path below the folder, or the part
of the glob before its wildcards, that it was found by.
"""

import csv
import logging
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import cyclopts
import numpy as np
from cyclopts import Parameter
from cyclopts.types import PositiveFloat, PositiveInt

from tasks.entry import run_tool
from tasks.label_maps import encode_image, encode_label
from tasks.labelled_sets import some
from tasks.output_paths import check_writable
from tasks.params import BACKGROUND_NAME, InputError
from tasks.pictures import label_colours, label_overlay
from tasks.progress import progress
from tasks.reference_images import SUFFIXES, ReferenceImage, find_images, read_image
from tasks.version import project_version

if TYPE_CHECKING:  # it imports torch, for which neither `--help` nor a wrong argument waits
    from tasks.segmenter import Segmenter

log = logging.getLogger(__name__)

app = cyclopts.App(name="python -m tasks.predict", version=project_version)

Area = tuple[str, int, str, int, float]
"""A row of ``areas.csv``: image, label, class, pixels, share of the image."""


def find_inputs(images: Sequence[str]) -> list[ReferenceImage]:
    """The images of files, folders (their whole trees) and globs, in that order.

    Files of a folder whose suffix is no image's are skipped, which the log says.

    Raises:
        InputError: one holds no image, or two images would share one name in the output.
    """
    if not images:
        raise InputError("IMAGES: none given; name files, folders or globs such as 'a/**/*.png'")
    found: dict[Path, ReferenceImage] = {}  # none has a name with `..`, which would lead outside
    for item in images:
        path = Path(item)
        listed = (
            [ReferenceImage(path, path.name)] if path.is_file() else find_images(item, key="IMAGES")
        )
        found |= {one.path: one for one in listed if one.path not in found}
        if path.is_dir() and (others := _other_files(path)):
            log.warning("%s: skipped by their suffix: %s", item, others)
    by_name = defaultdict(list)
    for one in found.values():
        by_name[output_name(one)].append(str(one.path))
    twice = [" and ".join(paths) for paths in by_name.values() if len(paths) > 1]
    if twice:
        raise InputError(
            f"IMAGES: these would share one name in the output: {some(twice)}; name the folder "
            "above them, rename one, or label them in two runs"
        )
    return list(found.values())


def _other_files(folder: Path) -> str:
    """How many files of a tree are no images, by suffix; hidden ones are nobody's images."""
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    shown = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    counts = Counter(name.suffix.lower() or "none" for name in shown)
    return ", ".join(
        f"{count} {suffix}" for suffix, count in sorted(counts.items()) if suffix not in SUFFIXES
    )


def output_name(image: ReferenceImage) -> str:
    """Where an image's pictures lie below ``labels`` and ``overlays``."""
    return PurePosixPath(image.name).with_suffix(".png").as_posix()


def check_out(out: Path) -> None:
    """Whether it can be written, and nothing would be overwritten.

    Raises:
        InputError: there is something already, or no folder can be made there.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"--out: {out} exists and is no empty folder; choose another, or remove it first"
        )
    check_writable(out, "--out")


def areas(name: str, label: np.ndarray, class_names: Sequence[str]) -> list[Area]:
    """The rows of the classes that a label map shows, by label value."""
    counts = np.bincount(label.ravel(), minlength=len(class_names))
    return [
        (name, int(value), class_names[value], int(count), round(count / label.size, 6))
        for value, count in enumerate(counts)
        if count
    ]


def label_images(
    segmenter: "Segmenter", images: Sequence[ReferenceImage], out: Path, batch_size: int
) -> list[str]:
    """Label images, in batches as long as they follow each other with one size, and write it all.

    Args:
        segmenter: the network.
        images: see `find_inputs`.
        out: a folder that is new or empty.
        batch_size: images at once.

    Returns:
        What could not be read, as "path (why)"; all others are labelled.
    """
    faults: list[str] = []
    rows: list[Area] = []
    pixels_of: Counter[str] = Counter()
    waiting: deque[tuple[ReferenceImage, np.ndarray]] = deque()
    names = segmenter.class_names
    colours = label_colours(len(names), background=names[0] == BACKGROUND_NAME)

    with progress("labelling", len(images), "images") as advance:

        def read() -> Iterator[np.ndarray]:
            for image in images:
                try:
                    pixels = read_image(image.path)
                except InputError as error:
                    faults.append(str(error))
                    advance(1)
                    continue
                waiting.append((image, pixels))
                yield pixels

        for label in segmenter.label(read(), batch_size):
            image, pixels = waiting.popleft()
            pictures = {
                "labels": encode_label(label),
                "overlays": encode_image(label_overlay(pixels, label, colours)),
            }
            for kind, data in pictures.items():
                path = out / kind / output_name(image)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            shown = areas(image.name, label, names)
            pixels_of.update({name: count for _, _, name, count, _ in shown})
            rows += shown
            advance(1)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "areas.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "label", "class", "pixels", "share"])
        writer.writerows(rows)
    shares = [f"{name} {n / pixels_of.total():.1%}" for name, n in pixels_of.most_common()]
    log.info("of all pixels: %s", ", ".join(shares) or "none")
    return faults


@app.default
def predict(
    *images: str,
    out: Path = Path("predictions"),
    model: Path = Path("models/segmenter"),
    checkpoint: Path | None = None,
    batch_size: PositiveInt = 16,
    window: Annotated[tuple[PositiveInt, PositiveInt] | None, Parameter(negative="")] = None,
    flip: Annotated[bool, Parameter(negative="")] = False,
    scales: Annotated[tuple[PositiveFloat, ...], Parameter(consume_multiple=True, negative="")] = (
        1.0,
    ),
    device: str = "auto",
) -> None:
    """Label images with a trained network.

    Writes labels/, overlays/ and areas.csv. Images that cannot be read are listed at the end, and
    the exit status is then 1.

    Args:
        images: files, folders (their whole trees; .png, .jpg, .jpeg, .webp, .bmp, .tif, .tiff) or
            quoted globs; ** is any folders.
        out: a new or empty folder for the results.
        model: a folder with config.py and weights.pth, or a config file of MMSegmentation.
        checkpoint: the weights of a config file.
        batch_size: images at a time, as long as they follow each other with one size.
        window: height and width of overlapping windows to label in, for images so large that one
            at a time takes too much memory.
        flip: label the mirror image too, and average the probabilities.
        scales: label the image at these sizes, such as 0.75 1 1.25, and average the probabilities.
        device: auto, cpu, cuda or cuda:N.
    """
    check_out(out)
    found = find_inputs(images)
    from tasks.segmenter import Segmenter

    segmenter = Segmenter(model, device, window, flip, scales, checkpoint)
    try:
        faults = label_images(segmenter, found, out, batch_size)
    except (MemoryError, RuntimeError) as error:  # torch tells it as a RuntimeError
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        why = str(error).partition("\n")[0] or "by Python"
        raise InputError(
            f"out of memory with {batch_size} images at a time ({why}); remove {out} and run again "
            "with a lower --batch-size, or in windows, such as --window 512 512"
        ) from None
    log.info("%d of %d images labelled: %s", len(found) - len(faults), len(found), out)
    if faults:
        listed = "\n".join(faults)
        raise InputError(f"{len(faults)} of {len(found)} images could not be read:\n{listed}")


if __name__ == "__main__":
    run_tool(app)
