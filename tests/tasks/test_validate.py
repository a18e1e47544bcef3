"""The validator names each planted defect by file and rule, and passes what is whole."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.export import FORMATS, Format
from tasks.label_maps import encode_grey, encode_image, encode_label
from tasks.params import InputError
from tasks.validators.layouts import detect, given_classes, missing, read_tree
from tests.toys.trees import IMAGE, LABEL, check, found, png

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three whole pairs in ``images`` and ``labels``, with the names of two classes."""
    root = tmp_path / "tree"
    for name in ("a", "b", "sub/c"):
        for folder, data in (("images", encode_image(IMAGE)), ("labels", encode_label(LABEL))):
            path = root / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    (root / "classes.json").write_text('["background", "car"]')
    return root


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("manifest", [True, False])
def test_what_we_export_is_whole(
    make_export: Callable[..., Path], form: Format, manifest: bool
) -> None:
    out = make_export(form, rejected=True)
    if not manifest:
        (out / "manifest.json").unlink()
    assert detect(out) == form
    report = check(out)
    assert report.findings == []
    assert report.images == 6
    # By `exported_label`: what is ignored are two columns of 12 pixels in each of 6 images.
    ignored = {row["class"]: row["pixels"] for row in report.histogram()}["ignore"]
    assert ignored == 6 * 24


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "names",
    [
        ("background", *(f"class {number}" for number in range(1, 301))),
        ("road", "car", "sky"),
        ("background", "../../etc/passwd", "<b>|\n[red]"),
    ],
    ids=["16 bits", "no background", "hostile"],
)
def test_what_we_export_is_whole_whatever_the_classes(
    make_export: Callable[..., Path], form: Format, names: tuple[str, ...]
) -> None:
    out = make_export(form, {"names": names}, jpeg=True)
    report = check(out)
    assert report.findings == []
    counted = {row["class"] for row in report.histogram() if row["pixels"]}
    assert {names[-1], "ignore"} <= counted


def test_the_histogram_counts_pixels_and_images(tree: Path) -> None:
    assert check(tree).histogram() == [
        {"label": 0, "class": "background", "pixels": 75, "share": 0.520833, "images": 3},
        {"label": 1, "class": "car", "pixels": 45, "share": 0.3125, "images": 3},
        {"label": 255, "class": "ignore", "pixels": 24, "share": 0.166667, "images": 3},
    ]


DEFECTS: dict[str, tuple[dict[str, bytes | None], list[tuple[str, str]]]] = {
    "no label map": ({"labels/a.png": None}, [("images/a.png", "pair")]),
    "no image": ({"images/sub/c.png": None}, [("labels/sub/c.png", "pair")]),
    "two images": ({"images/a.jpg": b"x"}, [("images/a.jpg", "pair")]),
    "size": ({"labels/a.png": encode_label(LABEL[:5])}, [("labels/a.png", "size")]),
    "turned": ({"labels/a.png": encode_label(LABEL.T.copy())}, [("labels/a.png", "size")]),
    "grey image": ({"images/a.png": png(IMAGE[..., 0])}, [("images/a.png", "mode")]),
    "alpha": (
        {"images/a.png": png(np.concatenate([IMAGE, IMAGE[..., :1]], -1))},
        [("images/a.png", "mode")],
    ),
    "colours as labels": ({"labels/a.png": png(IMAGE)}, [("labels/a.png", "mode")]),
    "id beyond": (
        {"labels/a.png": encode_label(np.where(LABEL == 1, np.uint8(2), LABEL))},
        [("labels/a.png", "values")],
    ),
    "ignored by 8 bits in 16": (
        {"labels/a.png": encode_label(LABEL.astype(np.uint16))},
        [("labels/a.png", "values")],
    ),
    "empty": (
        {"labels/a.png": encode_label(np.where(LABEL == 1, np.uint8(0), LABEL))},
        [("labels/a.png", "empty")],
    ),
    "cut short": ({"images/a.png": encode_image(IMAGE)[:-60]}, [("images/a.png", "unreadable")]),
    "no picture": ({"labels/a.png": b"GIF89a"}, [("labels/a.png", "unreadable")]),
    "PostScript": ({"images/a.png": b"%!PS-Adobe-3.0 EPSF"}, [("images/a.png", "unreadable")]),
    "nothing": ({"labels/b.png": b""}, [("labels/b.png", "unreadable")]),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_named(tree: Path, name: str) -> None:
    files, expected = DEFECTS[name]
    for path, data in files.items():
        if data is None:
            (tree / path).unlink()
        else:
            (tree / path).write_bytes(data)
    report = check(tree)
    assert found(report) == expected
    assert all(one.found and one.remedy for one in report.findings)


def test_a_palette_that_is_not_full_is_named(tree: Path) -> None:
    image = Image.fromarray(np.where(LABEL == 255, np.uint8(0), LABEL))
    image.putpalette([0, 0, 0, 128, 0, 0])
    image.save(tree / "labels/a.png")
    (finding,) = check(tree).findings
    assert (finding.file, finding.rule) == ("labels/a.png", "palette")
    assert finding.found == "palette of 2 colours"


def test_a_picture_that_claims_too_many_pixels_is_not_decoded(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit, kind in ((40, "more than the limit"), (10, "more than twice the limit")):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        report = check(tree)
        assert len(report.findings) == 6, kind
        assert {one.rule for one in report.findings} == {"too large"}


def test_a_pipe_is_not_waited_for(tree: Path) -> None:
    (tree / "images/a.png").unlink()
    os.mkfifo(tree / "images/a.png")
    assert found(check(tree)) == [("images/a.png", "unreadable")]


def test_without_classes_label_values_are_not_judged(tree: Path) -> None:
    (tree / "classes.json").unlink()
    assert check(tree).findings == []
    assert found(check(tree, classes="1")) == [
        (f"labels/{name}.png", "values") for name in ("a", "b", "sub/c")
    ]


def test_classes_may_be_given(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("sky\ntree\nroad\n")
    report = check(tree, classes=str(tmp_path / "names.txt"))
    assert [row["class"] for row in report.histogram()] == ["sky", "tree", "road", "ignore"]
    with pytest.raises(InputError, match="--classes: no-such-file"):
        given_classes("no-such-file")


def test_rejected_samples_alone_may_be_empty(make_export: Callable[..., Path]) -> None:
    out = make_export("mmseg", rejected=True)
    for split in ("val", "rejected"):
        (path,) = (out / "ann_dir" / split).iterdir()
        path.write_bytes(encode_label(np.zeros((12, 20), np.uint8)))
    ((file, rule),) = found(check(out))
    assert (Path(file).parent.as_posix(), rule) == ("ann_dir/val", "empty")


def test_a_map_of_another_size_or_mode_is_named(make_export: Callable[..., Path]) -> None:
    out = make_export("voc")
    first, second, third, *_ = sorted(path.name for path in (out / "Reliability").iterdir())
    (out / "Reliability" / first).write_bytes(encode_grey(np.zeros((3, 3), np.uint8)))
    (out / "Reliability" / second).write_bytes(png(np.zeros((12, 20), np.uint16)))
    (out / "Reliability" / third).write_bytes(b"")
    assert sorted(found(check(out))) == [
        (f"Reliability/{first}", "size"),
        (f"Reliability/{second}", "mode"),
        (f"Reliability/{third}", "unreadable"),
    ]


def test_lists_of_voc_are_compared_with_the_files(make_export: Callable[..., Path]) -> None:
    out = make_export("voc")
    lists = out / "ImageSets/Segmentation"
    train = (lists / "train.txt").read_text().split()
    (out / "SegmentationClass" / f"{train[0]}.png").unlink()
    (out / "JPEGImages" / f"{train[1]}.png").unlink()
    (lists / "train.txt").write_text("\n".join([*train[:3], "../../etc/passwd", "/x", "missing"]))
    (lists / "val.txt").write_text(f"{train[2]}\n")
    report = check(out)
    told = {(one.file, one.rule, one.found) for one in report.findings}
    listed = "ImageSets/Segmentation/train.txt"
    assert {
        (listed, "pair", f"{train[0]} has no label map"),
        (listed, "pair", f"{train[1]} has no image"),
        (listed, "pair", "missing has no image"),
        (listed, "name", "'../../etc/passwd' leads outside"),
        (listed, "name", "'/x' leads outside"),
        ("ImageSets/Segmentation/val.txt", "pair", f"{train[2]} is listed twice"),
        (f"SegmentationClass/{train[3]}.png", "pair", "in no list"),
    } <= told
    assert len(told) == 8  # and the one that val.txt listed before


def test_a_lost_shard_is_missed(make_export: Callable[..., Path]) -> None:
    out = make_export("webdataset")
    assert missing(out, 5) is None
    (out / "val-000000.tar").unlink()
    report = check(out)
    assert report.findings == []
    lost = missing(out, report.images)
    assert lost is not None and lost.file == "manifest.json"
    assert lost.found == f"5 images, and {report.images} are here"
    (out / "manifest.json").write_text('{"samples": {"train": 99}}')  # somebody else's
    assert missing(out, report.images) is None


@pytest.mark.parametrize("below", ["", "samples"])
def test_the_stages_own_folders_are_known(tmp_path: Path, below: str) -> None:
    (tmp_path / below).mkdir(exist_ok=True)
    (tmp_path / below / "index.parquet").touch()
    with pytest.raises(InputError, match=r"what the stages keep.*tasks\.lineage check"):
        detect(tmp_path)


def test_a_tree_of_no_known_layout_is_told(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match="no layout that is known: expected img_dir"):
        detect(tmp_path)
    with pytest.raises(InputError, match="has no folders of images and label maps"):
        read_tree(tmp_path, "mmseg", None)


def test_a_tree_without_images_is_not_called_whole(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    done = run(str(tmp_path))
    assert done.returncode == 1
    assert "holds no image as --format plain has them" in done.stderr


def test_classes_are_not_given_where_the_annotations_name_them(
    make_export: Callable[..., Path],
) -> None:
    with pytest.raises(InputError, match="--classes: is not for COCO"):
        check(make_export("coco"), classes="3")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tasks.validate", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command(tree: Path) -> None:
    whole = run(str(tree))
    assert whole.returncode == 0, whole.stderr
    assert "No findings" in whole.stdout
    (tree / "labels/a.png").unlink()
    (tree / "images/[red]b\x1b.png").write_bytes(b"")
    broken = run(str(tree))
    assert broken.returncode == 1
    lines = broken.stdout.splitlines()
    assert lines[1] == "images/a.png: pair: no label map; add labels/a.png, or remove the image"
    assert lines[0].startswith("images/[red]b\\x1b.png: pair: no label map; ")
    assert "2 findings: 2 pair" in broken.stdout
    content = json.loads(run(str(tree), "--json").stdout)
    assert content["images"] == 2
    assert [one["file"] for one in content["findings"]] == [
        "images/[red]b\x1b.png",
        "images/a.png",
    ]
    assert content["findings"][1]["remedy"] == "add labels/a.png, or remove the image"
    assert content["histogram"][1] == {
        "label": 1, "class": "car", "pixels": 30, "share": 0.3125, "images": 2,
    }  # fmt: skip
    missing = run(str(tree / "nowhere"))
    assert missing.returncode == 1
    assert missing.stderr.strip().endswith("no such folder; name the root of the tree")
