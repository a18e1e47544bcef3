"""A tree of VOC, opened by MMSegmentation's own dataset."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmseg.datasets import BaseSegDataset
from PIL import Image

from tasks.label_maps import palette


def open_split(out: Path, split: str, suffix: str = ".png") -> dict[str, dict[str, Any]]:
    names = (out / "classes.txt").read_text(encoding="utf-8").splitlines()
    dataset = BaseSegDataset(
        data_root=str(out),
        data_prefix={"img_path": "JPEGImages", "seg_map_path": "SegmentationClass"},
        ann_file=f"ImageSets/Segmentation/{split}.txt",
        img_suffix=suffix,
        metainfo={"classes": names},
        pipeline=[],
    )
    found = [dataset.get_data_info(i) for i in range(len(dataset))]
    return {Path(one["img_path"]).stem: one for one in found}


def read(path: str) -> np.ndarray:
    return np.array(Image.open(path))


@pytest.mark.parametrize("kind", ["plain", "hostile", "many_classes", "no_background"])
def test_pixels_and_labels_come_back(
    exported: Callable[..., Any], request: pytest.FixtureRequest, kind: str
) -> None:
    dataset = {} if kind == "plain" else request.getfixturevalue(kind)
    export = exported("voc", dataset, rejected=True)
    for split, count in (("train", 4), ("val", 1), ("rejected", 1)):
        found = open_split(export.out, split)
        assert len(found) == count
        images = {name: read(one["img_path"]) for name, one in found.items()}
        labels = {name: read(one["seg_map_path"]) for name, one in found.items()}
        export.assert_same("image", split, images)
        export.assert_same("label", split, labels)
        folder = export.out / "Reliability"
        export.assert_same("reliability", split, {n: read(f"{folder}/{n}.png") for n in found})
    assert open_split(export.out, "trainval").keys() == (
        open_split(export.out, "train").keys() | open_split(export.out, "val").keys()
    )


def test_labels_have_the_colours_of_voc_in_full(exported: Callable[..., Any]) -> None:
    path = next((exported("voc").out / "SegmentationClass").iterdir())
    image = Image.open(path)
    assert image.mode == "P"
    flat = image.getpalette()
    assert flat is not None
    assert flat == [channel for colour in palette(256) for channel in colour]
    assert flat[3:6] == [128, 0, 0]


def test_labels_beyond_8_bits_are_grey_of_16(
    exported: Callable[..., Any], many_classes: dict[str, Any]
) -> None:
    out = exported("voc", many_classes).out
    label = Image.open(next((out / "SegmentationClass").iterdir()))
    assert label.mode == "I;16"
    values = np.unique(np.array(label))
    assert 300 in values and 65535 in values


def test_a_class_is_a_line(exported: Callable[..., Any], hostile: dict[str, Any]) -> None:
    lines = (exported("voc", hostile).out / "classes.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4
    assert lines[2] == 'a "quoted", <script>alert(1)</script> | [red] --- name: x'


def test_rejected_samples_stay_out_unless_asked_for(exported: Callable[..., Any]) -> None:
    out = exported("voc").out
    assert len(list((out / "JPEGImages").iterdir())) == 5
    assert not (out / "ImageSets/Segmentation/rejected.txt").exists()


def test_jpeg_images_have_the_names_that_readers_of_voc_expect(
    exported: Callable[..., Any],
) -> None:
    export = exported("voc", jpeg=True)
    found = open_split(export.out, "train", ".jpg")
    originals = export.originals("image", "train")
    assert sorted(found) == sorted(originals)
    for name, one in found.items():
        image = Image.open(one["img_path"])
        assert image.format == "JPEG" and image.size == (20, 12)
        error = np.abs(np.asarray(image, float) - originals[name]).mean()
        assert error < 8  # of 255; noise is what JPEG does worst
