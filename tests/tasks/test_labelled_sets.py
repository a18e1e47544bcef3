"""The rules of a labelled set, and how a broken one is told."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.label_maps import encode_image, encode_label
from tasks.labelled_sets import check_pairs, class_list, class_list_problem, list_pairs, some
from tasks.params import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images of 6x4 pixels with labels 0, 1 and 255; one of the images is a JPEG."""
    for part in ("images", "labels"):
        (tmp_path / "set" / part).mkdir(parents=True)
    image = np.zeros((4, 6, 3), np.uint8)
    label = np.array([[0, 1, 1, 255, 0, 0]] * 4, np.uint8)
    for name in ("a", "b", "c"):
        (tmp_path / "set/images" / f"{name}.png").write_bytes(encode_image(image))
        (tmp_path / "set/labels" / f"{name}.png").write_bytes(encode_label(label))
    (tmp_path / "set/images/b.png").unlink()
    Image.fromarray(image).save(tmp_path / "set/images/b.jpg")
    return tmp_path / "set"


def test_a_whole_set_has_no_faults(folder: Path) -> None:
    (folder / "images/.hidden.png").write_text("")
    (folder / "images/notes.txt").write_text("")
    (folder / "labels/extra.png").write_text("")
    pairs = list_pairs(folder)
    assert [(pair.image.name, pair.label.name) for pair in pairs] == [
        ("a.png", "a.png"),
        ("b.jpg", "b.png"),
        ("c.png", "c.png"),
    ]
    assert check_pairs(pairs, class_count=2) == []


def test_an_image_that_hides_what_training_would_see_is_refused(folder: Path) -> None:
    Image.new("RGBA", (6, 4), (9, 9, 9, 255)).save(folder / "images/a.png")
    assert check_pairs(list_pairs(folder), class_count=2) == []
    Image.new("RGBA", (6, 4), (9, 9, 9, 254)).save(folder / "images/c.png")
    (said,) = check_pairs(list_pairs(folder), class_count=2)
    assert said.startswith("images must be opaque: ") and said.endswith("/images/c.png")


def test_a_camera_held_upright_fits_a_label_that_stands(folder: Path) -> None:
    """Its pixels lie on their side; EXIF says so, and trainings turn them."""
    exif = Image.Exif()
    exif[274] = 6  # turn clockwise
    Image.new("RGB", (4, 6)).save(folder / "images/b.jpg", exif=exif)
    assert check_pairs(list_pairs(folder), class_count=2) == []


@pytest.mark.parametrize("part", ["", "images", "labels"])
def test_a_missing_folder_is_named(folder: Path, part: str) -> None:
    (folder / part).rename(folder.parent / "elsewhere")
    with pytest.raises(InputError, match=f"{folder / part}: no such folder"):
        list_pairs(folder)


def test_a_set_without_images_is_refused(folder: Path) -> None:
    for path in (folder / "images").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"holds no \.png, \.jpg, \.jpeg image"):
        list_pairs(folder)


def test_missing_labels_and_shared_names_are_listed_together(folder: Path) -> None:
    for name in ("a", "c"):
        (folder / "labels" / f"{name}.png").unlink()
    (folder / "images/b.png").write_bytes((folder / "images/a.png").read_bytes())
    with pytest.raises(InputError) as caught:
        list_pairs(folder)
    assert "2 of 3 images have no label: a.png, c.png;" in str(caught.value)
    assert "two images share one name and so one label: b;" in str(caught.value)


def test_ten_names_are_shown_and_the_others_counted() -> None:
    assert some("abc") == "a, b, c"
    assert some(f"{n}" for n in range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"


def test_unreadable_files_are_listed_together(folder: Path) -> None:
    whole = (folder / "images/a.png").read_bytes()
    (folder / "images/a.png").write_bytes(whole[:46])
    (folder / "labels/b.png").write_text("no image")
    (folder / "images/c.png").write_bytes(b"")
    (fault,) = check_pairs(list_pairs(folder), class_count=2)
    assert fault.startswith("cannot be read; replace or remove: ")
    for name in ("images/a.png (", "labels/b.png (cannot identify", "images/c.png ("):
        assert name in fault


def test_sizes_must_agree(folder: Path) -> None:
    (folder / "labels/c.png").write_bytes(encode_label(np.zeros((6, 4), np.uint8)))
    assert check_pairs(list_pairs(folder), class_count=2) == [
        "image and label must be of one size: c.png (6x4 and 4x6)"
    ]


def test_label_values_must_be_classes_or_255(folder: Path) -> None:
    label = np.array([[0, 1, 2, 7, 9, 255]] * 4, np.uint8)
    (folder / "labels/a.png").write_bytes(encode_label(label))
    (folder / "labels/b.png").write_bytes(encode_label(label * 0 + 2))
    assert check_pairs(list_pairs(folder), class_count=2) == [
        "label values must be 0..1 or 255, by expand_prompts.classes: a.png (2, 7, 9), b.png (2)"
    ]
    assert check_pairs(list_pairs(folder), class_count=10) == []


@pytest.mark.parametrize(("mode", "dtype"), [("RGB", np.uint8), ("I;16", np.uint16)])
def test_labels_must_be_8_bit_with_one_channel(folder: Path, mode: str, dtype: type) -> None:
    shape = (4, 6, 3) if mode == "RGB" else (4, 6)
    Image.fromarray(np.zeros(shape, dtype)).save(folder / "labels/a.png")
    (fault,) = check_pairs(list_pairs(folder), class_count=2)
    assert fault.startswith("labels must be 8-bit with one channel, palette or grey: ")
    assert fault.endswith(f"labels/a.png ({mode})")


def test_from_256_classes_on_labels_may_have_16_bits(folder: Path) -> None:
    label = np.array([[0, 255, 918, 65535, 0, 0]] * 4, np.uint16)
    (folder / "labels/a.png").write_bytes(encode_label(label))
    assert check_pairs(list_pairs(folder), class_count=919) == []
    (folder / "labels/a.png").write_bytes(encode_label(label + 1))  # 65535 becomes 0
    assert check_pairs(list_pairs(folder), class_count=919) == [
        "label values must be 0..918 or 65535, by expand_prompts.classes: a.png (919)"
    ]


def test_grey_labels_are_as_good_as_palettes(folder: Path) -> None:
    Image.fromarray(np.full((4, 6), 255, np.uint8)).save(folder / "labels/a.png")
    assert check_pairs(list_pairs(folder), class_count=2) == []


def test_class_names_are_found_in_the_folder_or_above(folder: Path) -> None:
    assert class_list(folder) is None
    (folder.parent / "classes.json").write_text(json.dumps(["background", "car"]))
    assert class_list(folder) == ["background", "car"]
    (folder / "classes.json").write_text(json.dumps(["background", "boat"]))
    assert class_list(folder) == ["background", "boat"]


@pytest.mark.parametrize("text", ["{", '{"car": 1}', "[1]"])
def test_a_class_list_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "classes.json").write_text(text)
    with pytest.raises(InputError, match=r"classes\.json"):
        class_list(folder)


def test_label_values_must_mean_the_same() -> None:
    ours = ["background", "car", "boat"]
    assert class_list_problem(ours, ours) is None
    assert class_list_problem(["background", "car"], ours) is None
    assert class_list_problem(["background", "boat", "car"], ours) == (
        "label value 1 is 'boat' in the set and 'car' in expand_prompts.classes; the set's classes "
        "in order: boat, car"
    )
    assert "label value 3 is 'tree' in the set and 'no class'" in str(
        class_list_problem([*ours, "tree"], ours)
    )


def test_a_set_with_another_idea_of_the_background_says_which() -> None:
    classes = ["road", "sky"]
    assert class_list_problem(classes, classes) is None
    assert class_list_problem(classes, ["background", *classes]) == (
        "label value 0 is 'road' in the set and 'background' in expand_prompts: the set is for "
        "background: none; the set's classes in order: road, sky"
    )
    assert class_list_problem(["background", *classes], classes) == (
        "label value 0 is 'background' in the set and 'road' in expand_prompts: the set is for "
        "background: rest; the set's classes in order: road, sky"
    )
    assert "'sky' in the set and 'car' in expand_prompts.classes" in str(
        class_list_problem(classes, ["road", "car"])
    )
