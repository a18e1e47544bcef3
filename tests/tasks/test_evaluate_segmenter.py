"""Stage evaluate_segmenter: what it measures, and what it says that it did not measure."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from tasks import evaluate_segmenter, train_reference, train_segmenter
from tasks.evaluate_segmenter import read_images, report
from tasks.iou import confusion_matrix, iou_per_class
from tasks.label_maps import decode
from tasks.labelled_sets import Pair
from tasks.params import Params
from tasks.records import DATASET, read_json, read_rows, write_table


def test_both_networks_are_measured_on_the_same_images(
    toy_params: Callable[..., Params], training_root: Path
) -> None:
    params = toy_params()
    train_segmenter.run(params, training_root)
    train_reference.run(params, training_root)
    evaluate_segmenter.run(params, training_root)
    evaluation = read_json(training_root / "metrics/evaluation.json")
    assert evaluation["images"] == 6
    assert evaluation["test_set"] == "data/storybook/test"
    assert evaluation["not_measured"] == []
    shown = training_root / "data/evaluation"
    assert len(list(shown.glob("*.png"))) == 6 * 4
    for part, key in (("prediction", "per_class"), ("reference", "reference_per_class")):
        confusion = np.zeros((3, 3), np.int64)
        for number in range(6):
            truth, label = (
                decode((shown / f"{number:04d}.{name}.png").read_bytes())
                for name in ("truth", part)
            )
            confusion += confusion_matrix(truth, label, 3)
        assert list(evaluation[key]) == ["background", "red", "blue"]
        assert list(evaluation[key].values()) == pytest.approx(iou_per_class(confusion), abs=1e-4)
        if part == "prediction":
            counted = (shown / "confusion.csv").read_text().splitlines()
            names = ["background", "red", "blue"]
            assert counted[0] == ",".join(["true class", *names])
            assert [row.split(",")[0] for row in counted[1:]] == names
            rows = [[int(value) for value in row.split(",")[1:]] for row in counted[1:]]
            assert rows == confusion.tolist()
    rows = (training_root / "plots/evaluation_per_class.csv").read_text().splitlines()
    ious = (evaluation["per_class"]["red"], evaluation["reference_per_class"]["red"])
    assert rows[0] == "class,synthetic,reference"
    assert rows[2] == f"red,{ious[0]},{ious[1]}"


def test_images_are_seen_as_a_training_sees_them(tmp_path: Path) -> None:
    """OpenCV, which a training reads with, turns a picture as its EXIF data say."""
    exif = Image.Exif()
    exif[274] = 6  # turn clockwise
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 8:] = 255
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels).save(path, exif=exif)
    (read,) = read_images([Pair(path, path)])
    loaded = LoadImageFromFile()({"img_path": str(path)})["img"]
    assert read.shape == loaded.shape == (16, 8, 3)
    assert np.abs(read - loaded[..., ::-1].astype(int)).max() < 4


def test_without_background_the_first_class_is_label_0(
    toy_params: Callable[..., Params], training_root: Path, tmp_path: Path
) -> None:
    """The grey around the squares as a class: the same labels, trainings and numbers."""
    root = tmp_path / "root"
    shutil.copytree(training_root, root)
    rows = read_rows(root / "data/dataset/index.parquet")
    for row in rows:
        row["classes"].append({"name": "grey", "area": 0.75, "peak": 1, "margin": 1})
    write_table(root / "data/dataset/index.parquet", rows, DATASET)
    names = ["grey", "red", "blue"]
    classes = [{"name": n, "phrases": [n], "synonyms": [], "hyponyms": []} for n in names]
    scene = {"expand_prompts.background": "none", "expand_prompts.classes": classes}
    found = []
    for changes in ({}, scene):
        params = toy_params(changes)
        train_segmenter.run(params, root)
        train_reference.run(params, root)
        evaluate_segmenter.run(params, root)
        found.append(read_json(root / "metrics/evaluation.json"))
    page, street = found
    assert list(street["per_class"]) == list(street["reference_per_class"]) == names
    assert list(street["per_class"].values()) == list(page["per_class"].values())
    assert street["miou"] == page["miou"]


def test_without_a_test_set_the_stage_says_what_is_missing(
    toy_params: Callable[..., Params], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evaluate_segmenter.run(toy_params({"evaluate_segmenter.test_set": "none"}), tmp_path)
    assert "evaluate_segmenter.test_set is none" in caplog.text and "mIoU" not in caplog.text
    evaluation = read_json(tmp_path / "metrics/evaluation.json")
    assert evaluation["miou"] is evaluation["reference_miou"] is evaluation["ratio"] is None
    assert evaluation["per_class"] == {}
    assert evaluation["images"] == 0
    assert evaluation["not_measured"] == [
        "Nothing was measured on real images: evaluate_segmenter.test_set is none."
    ]
    assert list((tmp_path / "data/evaluation").iterdir()) == []


def test_the_ratio_is_of_the_means_over_the_classes_that_are_there() -> None:
    ours, theirs = {"background": 0.9, "car": 0.5, "boat": None}, {"background": 1.0, "car": 0.75}
    evaluation = report("set", 2, ours, theirs)
    assert (evaluation["miou"], evaluation["reference_miou"]) == (0.7, 0.875)
    assert evaluation["ratio"] == 0.8


def test_without_a_reference_there_is_no_ratio() -> None:
    evaluation = report("set", 2, {"background": 0.9, "car": 0.5}, None)
    assert (evaluation["miou"], evaluation["reference_miou"]) == (0.7, None)
    assert evaluation["ratio"] is None
    assert evaluation["not_measured"] == [
        "There is no real-trained reference: train_reference.labelled_set is none."
    ]
