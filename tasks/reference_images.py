"""Reference images: the unlabelled pictures of a domain, found by folder or glob and read as RGB.

Any size, any mode of Pillow's that has a meaning as a picture. Imports no torch.
"""

import glob
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tasks.params import AdaptLora, InputError
from tasks.progress import progress

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class ReferenceImage:
    """A picture of the domain.

    Attributes:
        path: where it lies.
        name: its path below `base_folder`, with slashes.
    """

    path: Path
    name: str


def base_folder(images: str, root: Path = Path()) -> Path:
    """Where the images' names start from: the folder, or of a glob the part before wildcards."""
    path = Path(images)
    if glob.has_magic(images):
        return root.joinpath(*path.parts[: _first_wild(path)])
    return root / path


def find_images(
    images: str, root: Path = Path(), key: str = "adapt_lora.images"
) -> list[ReferenceImage]:
    """The images of a folder's whole tree, or those that a glob names, sorted by name.

    Names that begin with a dot are skipped, and so is what has no image's suffix.

    Args:
        images: a folder or a glob, in which ``**`` is any folders.
        root: where a relative one starts from.
        key: what was asked for it, for the message.

    Raises:
        InputError: there is no such folder, or no image in it.
    """
    base = base_folder(images, root)
    if glob.has_magic(images):
        pattern = str(Path(*Path(images).parts[_first_wild(Path(images)) :]))
        # Path.glob would find hidden files too.
        names = glob.glob(pattern, root_dir=base, recursive=True)  # noqa: PTH207
        paths = [base / name for name in names]
    elif base.is_dir():
        paths = list(base.rglob("*"))
    else:
        what = "is a file" if base.exists() else "does not exist"
        raise InputError(
            f"{key}: {base} {what}; give a folder of images or a glob, such as frames/**/*.png"
        )
    found = [
        ReferenceImage(path, path.relative_to(base).as_posix())
        for path in paths
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    seen = [item for item in found if not _hidden(item.name)]
    if not seen:
        raise InputError(f"{key}: {images} holds no image ({', '.join(SUFFIXES)})")
    return sorted(seen, key=lambda item: item.name)


def used_images(section: AdaptLora, found: Sequence[ReferenceImage]) -> list[ReferenceImage]:
    """The first ``max_images`` of those found.

    Raises:
        InputError: too few are left for a batch.
    """
    used = list(found[: section.max_images])
    held_out = section.held_out(len(used))
    if len(used) - held_out < section.batch_size:
        raise InputError(
            f"adapt_lora.images: {section.images} gives {len(used)} images, of which val_share "
            f"holds {held_out} out: fewer than the {section.batch_size} of a batch; add images, or "
            "lower adapt_lora.batch_size (gradient_accumulation makes up for it)"
        )
    return used


def read_image(path: Path) -> np.ndarray:
    """An image file upright and as RGB.

    Rotated as its EXIF data say; transparency over white; 16-bit grey by its upper 8 bits' scale.

    Returns:
        ``uint8 (H, W, 3)``.

    Raises:
        InputError: the file cannot be decoded, or its values have no agreed range.
    """
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            return np.asarray(_to_rgb(image))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        what = str(error).replace(str(path), "").strip(" ':") or type(error).__name__
        raise InputError(f"{path} ({what})") from None


def unreadable(images: Sequence[ReferenceImage]) -> list[str]:
    """What `read_image` refuses of these, as "path (why)"; every file is decoded."""

    def fault(image: ReferenceImage) -> str | None:
        try:
            read_image(image.path)
        except InputError as error:
            return str(error)
        return None

    faults = []
    checking = progress("checking references", len(images), "images", enabled=bool(images))
    with checking as advance, ThreadPoolExecutor() as pool:
        for found in pool.map(fault, images):
            if found:
                faults.append(found)
            advance(1)
    return faults


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_deep_grey(np.asarray(image))).convert("RGB")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, "white")
        return Image.alpha_composite(white, over).convert("RGB")
    return image.convert("RGB")


def _deep_grey(values: np.ndarray) -> np.ndarray:
    """Grey values 0 to 65535 as ``uint8``.

    Raises:
        ValueError: the values are of another range, or fractions.
    """
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise ValueError("its values are neither 8 nor 16 bits; convert it to one of these")
    return np.rint(values / 257).astype(np.uint8)


def _first_wild(path: Path) -> int:
    return next(at for at, part in enumerate(path.parts) if glob.has_magic(part))


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
