"""Planted defects of COCO are named by file and rule."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.label_maps import encode_grey, encode_image
from tests.toys.trees import IMAGE, LABEL, check, found


def change_coco(out: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = out / "annotations/instances_train.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def first_annotation(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["annotations"][0].__setitem__(key, value)


def first_image(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["images"][0].__setitem__(key, value)


RLE = {"size": [12, 20], "counts": "~"}
COCO_DEFECTS = {
    "unknown category": (first_annotation("category_id", 77), "annotation", "category_id 77"),
    "odd category": (first_annotation("category_id", [1]), "annotation", "category_id [1]"),
    "unknown image": (first_annotation("image_id", 77), "annotation", "image_id 77"),
    "box": (
        first_annotation("bbox", [0, 0, 90, 2]),
        "annotation",
        "bbox [0, 0, 90, 2] of an image 20x12",
    ),
    "box of words": (first_annotation("bbox", "x"), "annotation", "bbox 'x'"),
    "bad mask": (first_annotation("segmentation", RLE), "annotation", "characters that no"),
    "no mask": (first_annotation("segmentation", None), "annotation", "no segmentation"),
    "short polygon": (first_annotation("segmentation", [[1, 2, 3, 4]]), "annotation", "a polygon"),
    "polygon outside": (
        first_annotation("segmentation", [[1, 1, 99, 1, 5, 5]]),
        "annotation",
        "a polygon that leaves the image",
    ),
    "area": (first_annotation("area", 3), "annotation", "area 3 of a mask with"),
    "no object": (lambda content: content["annotations"].append(3), "annotation", "id None"),
    "id twice": (
        lambda content: content["annotations"].append(content["annotations"][0]),
        "annotation",
        "id 1",
    ),
    "image id twice": (
        lambda content: content["images"].append(content["images"][0]),
        "annotation",
        "image id 1",
    ),
    "absolute path": (first_image("file_name", "/etc/passwd"), "name", "file_name '/etc/passwd'"),
    "path outside": (first_image("file_name", "a/../../x"), "name", "file_name 'a/../../x'"),
    "path of a drive": (first_image("file_name", "C:\\x.png"), "name", "file_name 'C:"),
    "no path": (first_image("file_name", None), "name", "file_name None"),
    "no file": (first_image("file_name", "x.png"), "pair", "no file train/x.png"),
    "long name": (first_image("file_name", "x" * 256 + ".png"), "pair", "no file train/xxx"),
    "width": (first_image("width", 21), "size", "20x12, and annotations/instances_train.json"),
}


@pytest.mark.parametrize("name", COCO_DEFECTS)
def test_a_planted_defect_of_coco_is_named(make_export: Callable[..., Path], name: str) -> None:
    change, rule, text = COCO_DEFECTS[name]
    out = make_export("coco")
    change_coco(out, change)
    report = check(out)
    assert any(one.rule == rule and one.found.startswith(text) for one in report.findings)
    unlisted = {
        "absolute path",
        "path outside",
        "path of a drive",
        "no path",
        "no file",
        "long name",
    }
    told = [one for one in report.findings if one.found != "in no annotation file"]
    assert len(told) == (2 if name == "image id twice" else 1)
    assert len(report.findings) - len(told) == (name in unlisted)


def test_coco_json_that_is_none_is_named(make_export: Callable[..., Path]) -> None:
    out = make_export("coco")
    (out / "annotations/deep.json").write_text("[" * 100_000)
    (out / "annotations/cut.json").write_text('{"images": [')
    (out / "annotations/captions_val.json").write_text('{"images": [], "annotations": []}')
    assert found(check(out)) == [
        ("annotations/cut.json", "unreadable"),
        ("annotations/deep.json", "unreadable"),
    ]


def test_a_name_that_leads_to_the_parent_opens_nothing_there(
    make_export: Callable[..., Path],
) -> None:
    out = make_export("coco")
    whole = out / "annotations/instances_val.json"
    (name,) = [image["file_name"] for image in json.loads(whole.read_text())["images"]]
    (out / "val" / name).rename(out.parent / name)
    whole.rename(out / "annotations/instances_...json")
    told = [one for one in check(out).findings if one.rule == "pair"]
    assert [one.file for one in told] == ["annotations/instances_...json, image 1"]


def test_the_maps_beside_cocos_images_are_opened(make_export: Callable[..., Path]) -> None:
    out = make_export("coco")
    first, second, third, _ = sorted((out / "reliability/train").iterdir())
    first.write_bytes(b"x")
    second.write_bytes(encode_grey(LABEL))
    third.unlink()
    told = [(Path(one.file), one.rule) for one in check(out).findings]
    rules = ("unreadable", "size", "unreadable")
    assert told == [
        (path.relative_to(out), rule)
        for path, rule in zip((first, second, third), rules, strict=True)
    ]


def test_images_without_annotations_are_named(make_export: Callable[..., Path]) -> None:
    out = make_export("coco")
    change_coco(
        out,
        lambda content: content.update(
            annotations=[one for one in content["annotations"] if one["image_id"] != 2]
        ),
    )
    (out / "train/other.png").write_bytes(encode_image(IMAGE))
    told = {(Path(one.file).parent.name, one.rule) for one in check(out).findings}
    assert told == {("train", "empty"), ("train", "pair")}
