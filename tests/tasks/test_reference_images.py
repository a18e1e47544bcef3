"""Reference images are found whatever their tree, and read by value whatever their mode."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.params import InputError, Params
from tasks.reference_images import find_images, read_image, unreadable, used_images

CORNER = np.zeros((2, 3, 3), np.uint8)
CORNER[0, 0] = (200, 100, 50)
"""Two rows of three pixels, the first one coloured."""


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(root / name)


def names(images: str, root: Path) -> list[str]:
    return [image.name for image in find_images(images, root)]


def test_a_folder_is_its_whole_tree_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "own/b/2.png", "own/b/10.JPG", "own/a.webp", "own/.trash/x.png", "own/b/.y.png")
    (tmp_path / "own/b/note.txt").touch()
    (tmp_path / "own/c.png").mkdir()
    assert names("own", tmp_path) == ["a.webp", "b/10.JPG", "b/2.png"]
    assert find_images("own", tmp_path)[1].path == tmp_path / "own/b/10.JPG"


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("own/*.png", ["a.png"]),
        ("own/**/*.png", ["a.png", "b/c.png"]),
        ("own/b/?.*", ["c.png", "d.bmp"]),
        ("own/[b-c]/*", ["b/c.png", "b/d.bmp"]),
    ],
)
def test_a_glob_starts_names_behind_its_fixed_part(
    tmp_path: Path, glob: str, expected: list[str]
) -> None:
    touch(tmp_path, "own/a.png", "own/b/c.png", "own/b/d.bmp", "own/.b/e.png")
    assert names(glob, tmp_path) == expected
    assert names(str(tmp_path / glob), Path("/nowhere")) == expected


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ("empty", "adapt_lora.images: empty holds no image (.png, .jpg"),
        ("own/*.tif", "adapt_lora.images: own/*.tif holds no image"),
        ("nowhere", "adapt_lora.images: {root}/nowhere does not exist; give a folder of images"),
        ("own/a.png", "adapt_lora.images: {root}/own/a.png is a file; give a folder of images"),
    ],
)
def test_where_there_are_none_it_is_said(tmp_path: Path, images: str, expected: str) -> None:
    touch(tmp_path, "own/a.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        find_images(images, tmp_path)
    assert str(caught.value).startswith(expected.format(root=tmp_path))


def test_the_first_by_name_are_used_if_they_fill_a_batch(
    tmp_path: Path, make_params: Callable[..., Params]
) -> None:
    touch(tmp_path, *(f"own/{number}.png" for number in range(6)))
    found = find_images("own", tmp_path)

    def used(**changes: object) -> list[str]:
        values = {"images": "own", "batch_size": 3, "val_share": 0.1} | changes
        params = make_params({f"adapt_lora.{key}": value for key, value in values.items()})
        return [image.name for image in used_images(params.adapt_lora, found)]

    assert used() == [f"{number}.png" for number in range(6)]
    assert used(max_images=4) == ["0.png", "1.png", "2.png", "3.png"]
    expected = (
        "adapt_lora.images: own gives 3 images, of which val_share holds 1 out: fewer than the 3 "
        "of a batch"
    )
    with pytest.raises(InputError, match=expected):
        used(max_images=3)
    with pytest.raises(InputError, match="gives 6 images, of which val_share holds 2 out"):
        used(batch_size=5, val_share=0.3)


def test_images_are_turned_as_their_exif_data_say(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    Image.fromarray(CORNER).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.rot90(CORNER, -1))


def one(path: Path) -> tuple[int, ...]:
    """The first pixel of an image, which has three values of 8 bits."""
    image = read_image(path)
    assert image.dtype == np.uint8 and image.shape[2] == 3
    return tuple(int(value) for value in image[0, 0])


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (100, 0, 0, 51), (224, 204, 204)),  # a fifth of it over four fifths of white
        ("LA", (0, 51), (204, 204, 204)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 257 * 90, (90, 90, 90)),
    ],
)
def test_modes_are_read_by_value(
    tmp_path: Path, mode: str, colour: object, expected: tuple[int, ...]
) -> None:
    if mode == "I;16":
        Image.fromarray(np.full((2, 2), colour, np.uint16)).save(tmp_path / "a.png")
    else:
        Image.new(mode, (2, 2), colour).save(tmp_path / "a.png")  # type: ignore[arg-type]
    assert one(tmp_path / "a.png") == expected


def test_palettes_and_print_colours_are_read_by_value(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([9, 9, 9, 60, 70, 80])
    palette.save(tmp_path / "plain.png")
    palette.save(tmp_path / "clear.png", transparency=1)
    Image.new("CMYK", (2, 2), (0, 255, 0, 0)).save(tmp_path / "print.tif")
    assert one(tmp_path / "plain.png") == (60, 70, 80)
    assert one(tmp_path / "clear.png") == (255, 255, 255)
    assert one(tmp_path / "print.tif") == (255, 0, 255)


def test_what_cannot_be_read_is_listed_together(tmp_path: Path) -> None:
    touch(tmp_path, "good.png")
    (tmp_path / "text.png").write_text("no image")
    Image.effect_noise((64, 64), 50).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    Image.fromarray(np.full((2, 2), 0.5, np.float32)).save(tmp_path / "float.tif")
    faults = unreadable(find_images(str(tmp_path)))
    assert [fault.partition(" (")[0] for fault in faults] == [
        str(tmp_path / name) for name in ("cut.jpg", "float.tif", "text.png")
    ]
    assert "truncated" in faults[0]
    assert "its values are neither 8 nor 16 bits; convert it" in faults[1]
    assert "cannot identify image file" in faults[2]
