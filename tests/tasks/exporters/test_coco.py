"""COCO's form, opened by pycocotools."""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from tasks.exporters.coco import annotations, categories, category_id
from tasks.exporters.source import Labels


def load(out: Path, split: str) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(out / f"annotations/instances_{split}.json"))


def label_map(coco: COCO, image: int, labels: Labels) -> np.ndarray:
    """The label map, made again from the annotations."""
    size = coco.imgs[image]["height"], coco.imgs[image]["width"]
    values = {category_id(v, labels): v for v in (*range(len(labels.names)), labels.ignore)}
    label = np.zeros(size, np.uint8 if labels.ignore == 255 else np.uint16)
    for one in coco.loadAnns(coco.getAnnIds(imgIds=image)):
        label[coco.annToMask(one).astype(bool)] = values[one["category_id"]]
    return label


@pytest.mark.parametrize("kind", ["plain", "hostile", "many_classes", "no_background"])
def test_pixels_and_labels_come_back(
    exported: Callable[..., Any], request: pytest.FixtureRequest, kind: str
) -> None:
    dataset = {} if kind == "plain" else request.getfixturevalue(kind)
    names = list(dataset.get("names", ("background", "car", "dog")))
    labels = Labels(names, 65535 if len(names) > 255 else 255)
    export = exported("coco", dataset, rejected=True)
    for split in ("train", "val", "rejected"):
        coco = load(export.out, split)
        stem = {key: Path(one["file_name"]).stem for key, one in coco.imgs.items()}
        images = {
            stem[key]: np.array(Image.open(export.out / split / one["file_name"]))
            for key, one in coco.imgs.items()
        }
        export.assert_same("image", split, images)
        maps = {stem[key]: label_map(coco, key, labels) for key in coco.imgs}
        export.assert_same("label", split, maps)
        named = [category["name"] for category in coco.loadCats(coco.getCatIds())]
        assert named == [*names[labels.first_class :], "ignore"]


def test_an_annotation_a_class_with_its_area_and_box() -> None:
    label = np.zeros((4, 6), np.uint8)
    label[1:3, 2:5] = 1
    label[3, 0] = 1  # not connected: still the same annotation
    label[:, 5] = 255
    found = list(annotations(label, 7, Labels(["background", "car"], 255)))
    assert [(one["category_id"], one["iscrowd"], one["area"]) for one in found] == [
        (1, 0, 7),
        (255, 1, 4),
    ]
    assert found[0]["bbox"] == [0, 1, 5, 3]
    assert found[0]["image_id"] == 7
    assert found[0]["segmentation"]["size"] == [4, 6]


def test_ids_begin_with_1_also_where_value_0_is_a_class() -> None:
    assert [one["id"] for one in categories(Labels(["road", "sky"], 255))] == [1, 2, 256]
    assert [one["id"] for one in categories(Labels(["background", "sky"], 255))] == [1, 255]


def test_each_image_names_its_prompt_and_seed(
    exported: Callable[..., Any], hostile: dict[str, Any]
) -> None:
    out = exported("coco", hostile).out
    images = json.loads((out / "annotations/instances_train.json").read_text())["images"]
    assert [one["seed"] for one in images] == [2**62 + number for number in range(4)]
    assert {one["prompt"] for one in images} == {hostile["prompt"]}
    assert [one["sample_id"] for one in images] == list(hostile["ids"][:4])
