"""Which samples have pictures, and what their layers are."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from tasks.params import Params
from tasks.pictures import heat_layer, label_colours
from tasks.report_pictures import (
    choose_pictured,
    examples,
    sample_pictures,
    spread,
    write_pictures,
)
from tasks.report_samples import Samples, read_samples
from tests.toys.reports import name_car_twice

PALETTE = label_colours(2, background=True)


def samples_of(*parts: tuple[str, int, bool]) -> Samples:
    """So many samples of a class, kept or rejected, part after part."""
    rows = [(name, kept) for name, count, kept in parts for _ in range(count)]
    table = {
        "sample_id": [f"{number:04d}" for number in range(len(rows))],
        "classes": [[{"name": name}] for name, _ in rows],
        "kept": [kept for _, kept in rows],
        "rule": ["" if kept else "min_area" for _, kept in rows],
    }
    return Samples(pa.table(table), ())


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_samples_are_spread_evenly_over_the_classes() -> None:
    samples = samples_of(("car", 90, True), ("boat", 2, True))
    chosen = spread(range(92), samples, 6, seed=0)
    assert sum(row >= 90 for row in chosen) == 2 and len(set(chosen)) == 6
    assert spread(range(91, -1, -1), samples, 6, seed=0) == chosen
    assert spread(range(92), samples, 6, seed=1) != chosen


def test_more_samples_than_there_are_means_all() -> None:
    samples = samples_of(("car", 3, True))
    assert sorted(spread(range(3), samples, 9, seed=0)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("kept", "rejected", "shown"),
    [(90, 90, (8, 4)), (90, 2, (10, 2)), (3, 90, (3, 9)), (0, 90, (0, 12)), (90, 0, (12, 0))],
)
def test_a_third_of_the_pictures_is_of_rejected_ones(
    kept: int, rejected: int, shown: tuple[int, int]
) -> None:
    samples = samples_of(("car", kept, True), ("car", rejected, False))
    chosen = choose_pictured(samples, 12, seed=0)
    assert chosen == sorted(set(chosen))
    assert (sum(row < kept for row in chosen), sum(row >= kept for row in chosen)) == shown


def test_layers_lie_over_the_image(finished_run: Path, make_params: Callable[..., Params]) -> None:
    row = read_samples(finished_run).dataset.to_pylist()[1]
    names, masks = ["car", "boat"], make_params().extract_masks
    found = sample_pictures(row, names, PALETTE, masks, finished_run)
    assert found["sharp"] and found["size"] == [16, 16]
    assert decoded(found["image"]).size == (16, 16)
    labels = np.asarray(decoded(found["labels"]))
    assert {tuple(pixel) for pixel in labels.reshape(-1, 4).tolist()} == {
        (0, 0, 0, 0),
        (*PALETTE[1], 255),
        (*PALETTE[2], 255),
    }
    assert [decoded(heat).size for heat in found["heats"]] == [(16, 16), (16, 16)]
    assert decoded(found["reliability"]).size == (16, 16)


def test_heat_maps_are_one_per_class_in_the_order_of_the_classes(
    finished_run: Path, make_params: Callable[..., Params]
) -> None:
    heats = name_car_twice(finished_run).astype(np.float32)
    samples, masks = read_samples(finished_run), make_params().extract_masks
    write_pictures(samples, [1], PALETTE, masks, finished_run, finished_run)
    text = (finished_run / "pictures-0000.js").read_text()
    (shown,) = json.loads(text.partition(",")[2].removesuffix(");\n"))
    assert shown["heats"] == [heat_layer(np.maximum(heats[0], heats[2])), heat_layer(heats[1])]


def test_an_example_is_kept_and_shows_its_class_alone_if_it_can(finished_run: Path) -> None:
    shown = examples(read_samples(finished_run), [0, 1, 2], PALETTE, 12, finished_run)
    assert [(one["id"], one["name"], one["text"]) for one in shown] == [
        ("sample-0", "car", "a car")
    ]
    alone = examples(read_samples(finished_run), [1, 2], PALETTE, 12, finished_run)
    assert [one["id"] for one in alone] == ["sample-1"]
