import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.label_maps import decode, encode_image, encode_label
from tasks.labelled_sets import check_pairs, class_list, class_list_problem, list_pairs
from tasks.labelled_trees import CAMVID_CLASSES, CAMVID_UNLABELLED, arrange
from tasks.params import InputError, load_params

ROOT = Path(__file__).parents[2]
CAMVID = ROOT.parent / "shared/data/camvid"
SIZE = (6, 8)


def picture(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE[::-1], (90, 120, 30)).save(path)
    return path.read_bytes()


def test_voc_keeps_its_labels(tmp_path: Path) -> None:
    voc = tmp_path / "VOC2012"
    label = np.zeros(SIZE, np.uint8)
    label[0], label[1] = 20, 255
    (voc / "ImageSets/Segmentation").mkdir(parents=True)
    (voc / "ImageSets/Segmentation/val.txt").write_text("2007_000033\n")
    (voc / "SegmentationClass").mkdir()
    (voc / "SegmentationClass/2007_000033.png").write_bytes(encode_label(label))
    image = picture(voc / "JPEGImages/2007_000033.jpg")

    out = tmp_path / "data/voc12/val"
    assert arrange("voc12", voc, out, "val") == 1
    (pair,) = list_pairs(out)
    assert pair.image.read_bytes() == image
    assert (decode(pair.label.read_bytes()) == label).all()
    section = load_params(ROOT / "presets/voc12.yaml").expand_prompts
    assert check_pairs([pair], len(section.label_names)) == []
    names = class_list(out)
    assert names and class_list_problem(names, section.label_names) is None
    assert names[20] == "tvmonitor"
    with pytest.raises(InputError, match="is not empty"):
        arrange("voc12", voc, out, "val")


def test_cityscapes_gets_its_train_ids(tmp_path: Path) -> None:
    label = np.zeros(SIZE, np.uint8)  # 0 is unlabelled
    for row, value in enumerate((7, 23, 24, 33)):  # road, sky, person, bicycle
        label[row] = value
    city = tmp_path / "city"
    picture(city / "leftImg8bit/val/ulm/ulm_000001_leftImg8bit.png")
    path = city / "gtFine/val/ulm/ulm_000001_gtFine_labelIds.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(label).save(path)

    assert arrange("cityscapes", city, tmp_path / "out", "val") == 1
    found = decode((tmp_path / "out/labels/ulm_000001.png").read_bytes())
    assert found[:, 0].tolist() == [0, 10, 11, 18, 255, 255]
    section = load_params(ROOT / "presets/cityscapes.yaml").expand_prompts
    names = json.loads((tmp_path / "out/classes.json").read_text())
    assert names == section.label_names


@pytest.mark.parametrize(
    ("classes", "dtype", "ignored"), [(2, np.uint8, 255), (300, np.uint16, 65535)]
)
def test_imagenet_s_is_read_from_its_colours(
    tmp_path: Path, classes: int, dtype: type, ignored: int
) -> None:
    tree = tmp_path / "tree"
    colours = np.zeros((*SIZE, 3), np.uint8)
    colours[0, :, 0] = 2
    colours[1, :, 0], colours[1, :, 1] = 1000 % 256, 1000 // 256
    for number in range(classes):
        stem, wnid = f"ILSVRC2012_val_{number:08d}", f"n{number:08d}"
        picture(tree / f"validation/{wnid}/{stem}.JPEG")
        path = tree / f"validation-segmentation/{wnid}/{stem}.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(encode_image(colours))
    out = tmp_path / "out"
    assert arrange("imagenet_s", tree, out, "validation") == classes
    pairs = list_pairs(out)
    found = decode(pairs[0].label.read_bytes())
    assert (found.dtype, found[:3, 0].tolist()) == (dtype, [2, ignored, 0])
    assert check_pairs(pairs[:3], classes + 1) == []
    assert class_list(out) is None


def test_camvid_ignores_what_is_unlabelled(tmp_path: Path) -> None:
    tree, out = tmp_path / "CamVid", tmp_path / "out"
    label = np.zeros(SIZE, np.uint8)
    label[0], label[1] = 10, 11
    (tree / "val/labels").mkdir(parents=True)
    image = picture(tree / "val/images/0016E5_07959.jpg")
    picture(tree / "val/images/0016E5_07961.png")
    (tree / "val/images/notes.txt").write_text("no image")
    for stem in ("0016E5_07959", "0016E5_07961"):
        Image.fromarray(label).save(tree / f"val/labels/{stem}.png")

    assert arrange("camvid", tree, out, "val") == 2
    pairs = list_pairs(out)
    assert pairs[0].image.read_bytes() == image
    assert [pair.image.suffix for pair in pairs] == [".jpg", ".png"]
    found = decode(pairs[0].label.read_bytes())
    assert (found.dtype, found[:3, 0].tolist()) == (np.uint8, [10, 255, 0])
    assert class_list(out) == list(CAMVID_CLASSES)
    assert check_pairs(pairs, len(CAMVID_CLASSES)) == []
    (tree / "val/labels/0016E5_07961.png").unlink()
    with pytest.raises(InputError, match=r"1 files are missing: .*val/labels/0016E5_07961\.png"):
        arrange("camvid", tree, tmp_path / "other", "val")
    with pytest.raises(InputError, match="holds no labelled image of the split test for camvid"):
        arrange("camvid", tree, tmp_path / "other", "test")


@pytest.mark.skipif(
    not CAMVID.is_dir(), reason="needs CamVid in ../shared/data, no part of the repository"
)
def test_camvid_itself(tmp_path: Path) -> None:
    lines = (CAMVID / "classes.txt").read_text().splitlines()
    listed = {name: int(value) for value, _, name in (line.partition("\t") for line in lines)}
    assert listed.pop("unlabelled (ignore)") == CAMVID_UNLABELLED
    assert listed == {name: value for value, name in enumerate(CAMVID_CLASSES)}
    out = tmp_path / "val"
    assert arrange("camvid", CAMVID, out, "val") == len(list((CAMVID / "val/labels").iterdir()))
    pairs = list_pairs(out)
    assert check_pairs(pairs, len(CAMVID_CLASSES)) == []
    shown = np.unique([decode(pair.label.read_bytes()) for pair in pairs])
    assert shown.tolist() == [*range(11), 255]


def test_what_is_missing_is_told_and_nothing_written(tmp_path: Path) -> None:
    names = tmp_path / "VOC/ImageSets/Segmentation/val.txt"
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"val.txt: no such file"):
        arrange("voc12", tmp_path / "VOC", out, "val")
    names.parent.mkdir(parents=True)
    names.write_text("a\n")
    with pytest.raises(InputError, match=r"2 files are missing: .*JPEGImages/a.jpg"):
        arrange("voc12", tmp_path / "VOC", out, "val")
    with pytest.raises(InputError, match="holds no labelled image of the split val"):
        arrange("cityscapes", tmp_path, out, "val")
    assert not out.exists()


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    for wnid in ("n00000001", "n00000002"):
        picture(tmp_path / f"tree/validation/{wnid}/same.JPEG")
        picture(tmp_path / f"tree/validation-segmentation/{wnid}/same.png")
    with pytest.raises(InputError, match=r"1 names .*: same; an image"):
        arrange("imagenet_s", tmp_path / "tree", tmp_path / "out", "validation")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stem", ["/etc/hostname", "../../secret", "a/b", "C:\\x"])
def test_a_path_in_the_list_of_a_split_is_refused(tmp_path: Path, stem: str) -> None:
    names = tmp_path / "VOC/ImageSets/Segmentation/val.txt"
    names.parent.mkdir(parents=True)
    names.write_text(f"2007_000033\n\n{stem}\n")
    out = tmp_path / "out"
    with pytest.raises(InputError) as caught:
        arrange("voc12", tmp_path / "VOC", out, "val")
    assert str(caught.value) == (
        f"{names}: line 3: {stem!r} is a path; write the name of an image alone, such as "
        "2007_000033"
    )
    names.write_text("x" * 300)
    with pytest.raises(InputError, match="2 files are missing"):
        arrange("voc12", tmp_path / "VOC", out, "val")
    names.write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"val\.txt: is not text .*; write names in UTF-8"):
        arrange("voc12", tmp_path / "VOC", out, "val")
    assert not out.exists()


DAMAGED = {
    "no picture": (b"<html>", "cannot identify image file"),
    "colours": (
        encode_image(np.zeros((*SIZE, 3), np.uint8)),
        "a label map must be uint8 or uint16 (H, W), not uint8 (6, 8, 3)",
    ),
    "cut short": (
        encode_label(np.arange(256, dtype=np.uint8).reshape(16, 16))[:-40],
        "image file is truncated",
    ),
}


@pytest.mark.parametrize("defect", DAMAGED)
def test_a_label_that_is_none_is_named_and_the_next_run_can_write(
    tmp_path: Path, defect: str
) -> None:
    content, told = DAMAGED[defect]
    tree, out = tmp_path / "CamVid", tmp_path / "set/out"
    (tree / "val/labels").mkdir(parents=True)
    for stem in "ab":
        picture(tree / f"val/images/{stem}.png")
        Image.fromarray(np.zeros(SIZE, np.uint8)).save(tree / f"val/labels/{stem}.png")
    whole = (tree / "val/labels/b.png").read_bytes()
    (tree / "val/labels/b.png").write_bytes(content)
    with pytest.raises(InputError, match="fetch it again, or leave out its image") as caught:
        arrange("camvid", tree, out, "val")
    told_of = f"{tree}/val/labels/b.png: is no label of camvid: {told}"
    assert str(caught.value).startswith(told_of)
    assert list(out.parent.iterdir()) == []
    (tree / "val/labels/b.png").write_bytes(whole)
    out.mkdir()
    assert arrange("camvid", tree, out, "val") == 2
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_file_where_the_set_would_lie_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file/below/it"):
        with pytest.raises(InputError, match=rf"^{tmp_path}/file: is a file; name a new folder$"):
            arrange("camvid", tmp_path, out, "val")
    assert (tmp_path / "file").read_text() == "mine"
