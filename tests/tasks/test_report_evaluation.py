"""The measurement in words, bars and confusions."""

from pathlib import Path

import numpy as np
import pytest

from tasks.evaluate_segmenter import write_confusion
from tasks.label_maps import encode_image, encode_label
from tasks.report_evaluation import confusion, headline, image_card, read_confusion, result_rows
from tests.toys.runs import EVALUATED, NOT_MEASURED


def test_the_headline_says_what_was_measured() -> None:
    training, reference = {"images": 1100}, {"images": 1200}
    assert headline(EVALUATED, training, reference, None) == (
        "A segmentation network trained on 1,100 synthetic images, with no real picture and no "
        "annotation, reaches 0.700 mIoU on 300 labelled test images: 78 % of what the same network "
        "reaches when it is trained on 1,200 real labelled images."
    )
    alone = headline(EVALUATED | {"ratio": None}, training, {}, None)
    assert alone.endswith("There is no real-trained network to compare it with.")
    given = {"scale": 1.0, "training": None, "record": {}}
    assert headline(NOT_MEASURED, training, {}, given) == (
        "A segmentation network was trained on 1,100 synthetic images, with no annotation and no "
        "real picture but those behind a given adapter. How well it does on real images was not "
        "measured."
    )


def test_result_rows_take_either_side() -> None:
    colours = {"background": "#999999", "car": "#ff0000", "boat": "#00ff00"}
    evaluation = EVALUATED | {"reference_per_class": {}}
    assert result_rows(evaluation, colours)[1] == {
        "name": "car",
        "colour": "#ff0000",
        "synthetic": 0.6,
        "reference": None,
    }
    assert result_rows(NOT_MEASURED, colours) == []


def test_a_confusion_is_a_share_of_the_true_class(tmp_path: Path) -> None:
    names = ["background", "car", "boat", "tree"]
    pixels = np.array([[80, 20, 0, 0], [5, 90, 5, 0], [0, 30, 70, 0], [0, 0, 0, 0]])
    write_confusion(tmp_path / "confusion.csv", pixels, names)
    found = read_confusion(tmp_path)
    assert found is not None and found[0] == names and found[1].tolist() == pixels.tolist()
    seen = confusion(*found)
    assert seen["matrix"] == [[0.8, 0.2, 0, 0], [0.05, 0.9, 0.05, 0], [0, 0.3, 0.7, 0], None]
    assert [(one["true"], one["said"], one["share"]) for one in seen["worst"]] == [
        ("boat", "car", 0.3),
        ("background", "car", 0.2),
        ("car", "background", 0.05),
        ("car", "boat", 0.05),
    ]


def test_of_many_classes_only_the_worst_confusions_are_shown() -> None:
    names = [f"class {number}" for number in range(25)]
    pixels = np.eye(25, dtype=np.int64) * 9
    pixels[7, 3] = 1
    seen = confusion(names, pixels)
    assert seen["matrix"] is None
    assert seen["worst"] == [{"true": "class 7", "said": "class 3", "share": 0.1}]


def test_where_nothing_was_measured_there_is_no_confusion(tmp_path: Path) -> None:
    assert read_confusion(tmp_path) is None


@pytest.mark.parametrize(("dtype", "ignore"), [(np.uint8, 255), (np.uint16, 65535)])
def test_ignored_pixels_count_for_no_network(
    tmp_path: Path, dtype: type[np.generic], ignore: int
) -> None:
    truth = np.array([[1, 1], [0, ignore]], dtype)
    (tmp_path / "0000.image.png").write_bytes(encode_image(np.zeros((2, 2, 3), np.uint8)))
    (tmp_path / "0000.truth.png").write_bytes(encode_label(truth))
    said = np.array([[1, 0], [0, 0]], dtype)
    (tmp_path / "0000.prediction.png").write_bytes(encode_label(said))
    card = image_card(tmp_path / "0000.image.png", [(150, 150, 150), (1, 2, 3)])
    assert [network["right"] for network in card["networks"]] == [2 / 3]
