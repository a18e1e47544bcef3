"""What the report shows of an adaptation: sheets cut up, references that are still there, words."""

import base64
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import records
from tasks.label_maps import decode, encode_image
from tasks.params import Params
from tasks.report_adaptation import (
    cut,
    duration,
    read_adaptation,
    read_sheets,
    reference_pictures,
    seen_pictures,
    shown_steps,
)
from tests.toys.adaptation import write_adaptation
from tests.toys.reports import Page, written
from tests.toys.runs import SCRIPT_PROMPT as HOSTILE

Row = dict[str, Any]
Make = Callable[..., Params]


def flat(value: int, height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def first_pixel(uri: str) -> int:
    return int(decode(base64.b64decode(uri.partition(",")[2]))[0, 0, 0])


def write_sheet(folder: Path, step: int, rows: int) -> None:
    """Samples of 16x8 pixels, four a row, each of the value step + 10 row + column."""
    values = [
        np.concatenate([flat(step + 10 * row + column, 16, 8) for column in range(4)], axis=1)
        for row in range(rows)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"sheet-{step:05d}.png").write_bytes(encode_image(np.concatenate(values)))


def training(held_out: list[list[float]], best: int, captions: list[str]) -> Row:
    return {
        "steps": 200,
        "best_step": best,
        "stopped_early": False,
        "images": 9,
        "held_out_images": 1,
        "seconds": 51.4,
        "parameters": 10,
        "curve": [[100, 0.5], [200, 0.4]],
        "held_out": held_out,
        "sheets": captions,
    }


def test_a_sheet_is_cut_into_its_samples() -> None:
    sheet = np.arange(2 * 4 * 3 * 2 * 3, dtype=np.uint8).reshape(8, 6, 3)
    rows = cut(sheet, 4, 2)
    assert [len(row) for row in rows] == [3, 3]
    np.testing.assert_array_equal(rows[1][2], sheet[4:8, 4:6])


@pytest.mark.parametrize(
    ("count", "best", "shown"),
    [
        (4, 1, [0, 100, 200, 300]),
        (5, 2, [0, 100, 200, 300, 400]),
        (13, 0, [0, 400, 800, 1200]),
        (13, 700, [0, 400, 700, 800, 1200]),
    ],
)
def test_of_many_steps_the_ends_and_the_best_are_shown(
    count: int, best: int, shown: list[int]
) -> None:
    assert shown_steps([100 * number for number in range(count)], best, 5) == shown


def test_sheets_carry_steps_losses_and_captions(tmp_path: Path) -> None:
    for step in (0, 100, 200):
        write_sheet(tmp_path, step, 2)
    held_out = [[0, 0.4], [100, 0.2], [200, 0.3]]
    sheets = read_sheets(training(held_out, 100, ["a car", ""]), 16, 8, tmp_path)
    assert [(one["step"], one["loss"], one["best"]) for one in sheets] == [
        (0, 0.4, False),
        (100, 0.2, True),
        (200, 0.3, False),
    ]
    assert [row["caption"] for row in sheets[1]["rows"]] == ["a car", ""]
    pixels = [[first_pixel(image) for image in row["images"]] for row in sheets[1]["rows"]]
    assert pixels == [[100, 101, 102, 103], [110, 111, 112, 113]]


def test_references_that_are_gone_or_changed_are_left_out(tmp_path: Path) -> None:
    entries = []
    for number in range(10):
        path = tmp_path / f"frames/day/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(flat(number, 8, 300 if number == 2 else 8)))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entries.append({"name": f"day/{number}.png", "digest": digest, "caption": f"<{number}>"})
    (tmp_path / "frames/day/0.png").unlink()
    (tmp_path / "frames/day/1.png").write_bytes(encode_image(flat(99, 8, 8)))
    found = reference_pictures(entries, "frames/**/*.png", tmp_path)
    assert [one["caption"] for one in found] == ["<2>", "<3>", "<4>", "<5>", "<6>", "<7>"]
    assert [one["sharp"] for one in found] == [False, *[True] * 5]
    assert first_pixel(found[1]["image"]) == 3
    assert found[0]["image"].startswith("data:image/jpeg;")
    assert reference_pictures(entries, "elsewhere", tmp_path) == []


def test_what_the_samples_owe_to_real_pictures() -> None:
    trained = {"scale": 0.5, "training": {}, "record": {"images": [{}] * 1200}}
    assert seen_pictures(trained) == (
        "with no annotation and no real picture but 1,200 unlabelled ones to adapt to"
    )
    given = {"scale": 1.0, "training": None, "record": {}}
    assert seen_pictures(given).endswith("no real picture but those behind a given adapter")
    for none in (None, trained | {"scale": 0.0}, given | {"scale": 0.0}):
        assert seen_pictures(none) == "with no real picture and no annotation"


@pytest.mark.parametrize(
    ("seconds", "text"), [(51.4, "51 s"), (119.0, "119 s"), (588.0, "9.8 minutes")]
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_nothing_is_read_where_the_stage_is_off(make_params: Make, tmp_path: Path) -> None:
    adapter = tmp_path / "models/lora/adapter.json"
    records.write_json(adapter, {"source": "none", "digest": None})
    assert read_adaptation(make_params(), tmp_path) is None


def test_a_given_adapter_has_no_training(make_params: Make, tmp_path: Path) -> None:
    record = {"source": "trained", "digest": "d", "base": "b"}  # a file may be called so
    records.write_json(tmp_path / "models/lora/adapter.json", record)
    found = read_adaptation(make_params({"adapt_lora.scale": 0.7}), tmp_path)
    assert found == {"record": record, "scale": 0.7, "training": None}


def test_a_trained_adapter_shows_its_training(make_params: Make, tmp_path: Path) -> None:
    folder = tmp_path / "models/lora"
    record = {"source": "trained", "digest": "d", "images": []}
    held_out = [[0, 0.4], [200, 0.3]]
    records.write_json(folder / "adapter.json", record)
    records.write_json(folder / "training.json", training(held_out, 200, ["a car"]))
    records.write_json(tmp_path / "metrics/adaptation.json", {"fall": 0.25})
    for step in (0, 200):
        write_sheet(folder / "sheets", step, 1)
    size = {"sample_images.height": 16, "sample_images.width": 8}
    found = read_adaptation(make_params(size), tmp_path)
    assert found is not None
    assert found["measured"] == {"fall": 0.25}
    assert found["training"]["duration"] == "51 s"
    assert [one["step"] for one in found["sheets"]] == [0, 200]
    assert found["sharp"] and found["references"] == []
    assert [line.name for line in found["chart"].lines] == ["training", "held-out"]


def test_an_adaptation_is_shown_before_and_after(adapted: Params, finished_run: Path) -> None:
    write_adaptation(finished_run, best=10)
    text = written(adapted, finished_run)
    page = Page(text)
    words = re.sub(r"\s+", " ", page.words)
    for expected in (
        "no annotation and no real picture but 8 unlabelled ones to adapt to, reaches 0.700",
        "25.0 % less denoising loss on held-out images: 0.4000 before, 0.3000 after",
        "7 images trained on, 1 held out",
        "20 steps; kept: the adapter of step 10; stopped early",
        "Before: the base model held-out loss 0.4000",
        "After 10 steps, kept held-out loss 0.3000",
        "After 20 steps held-out loss 0.3500",
        "The domain 1 of its images",
        "4, 2; 1,234 parameters",
        "3.3 minutes, losses and sheets included",
        "fedcba9876543210…",
    ):
        assert expected in words
    radios = [tag for tag in page.all("input") if tag["type"] == "radio"]
    assert [(tag["id"], "checked" in tag) for tag in radios] == [
        ("sheet-10", True),
        ("sheet-20", False),
    ]
    assert [label["for"] for label in page.all("label")] == ["sheet-10", "sheet-20"]
    alts = [image["alt"] for image in page.all("img")]
    assert alts.count(f"Base model: {HOSTILE}") == 4
    assert alts.count(f"After 20 steps: {HOSTILE}") == 4
    assert alts.count(f"Image of the domain: {HOSTILE}") == 1
    assert "<script>alert" not in text and len(page.all("script")) == 1
    losses = [drawing["aria-label"] or "" for drawing in page.all("svg")]
    assert [label for label in losses if label.startswith("Denoising")] == [
        "Denoising loss over 20 iterations: training from 0.40 to 0.30; held-out from 0.40 to 0.35."
    ]


def test_an_adaptation_that_did_not_help_says_so(adapted: Params, finished_run: Path) -> None:
    write_adaptation(finished_run, best=0)
    page = Page(written(adapted, finished_run))
    assert "No step had a lower held-out loss than the base model" in page.words
    checked = [tag["id"] for tag in page.all("input") if "checked" in tag]
    assert checked == ["sheet-20"]


def test_a_given_adapter_is_named(make_params: Make, finished_run: Path) -> None:
    record = {"source": "<i>mine</i>.safetensors", "digest": "fedcba9876543210" * 4, "base": "b"}
    records.write_json(finished_run / "models/lora/adapter.json", record)
    changes = {"expand_prompts.classes": ["car", "boat"], "adapt_lora.scale": 0.0}
    text = written(make_params(changes), finished_run)
    words = re.sub(r"\s+", " ", Page(text).words)
    assert "a given LoRA adapter, <i>mine</i>.safetensors. It was not trained here" in words
    assert "adapt_lora.scale is 0: this run's samples are made as if there were no adapter" in words
    assert "with no real picture and no annotation" in words
    assert "<i>mine" not in text and "Denoising loss" not in words


def test_without_an_adapter_there_is_no_such_section(params: Params, finished_run: Path) -> None:
    page = Page(written(params, finished_run))
    assert "adaptation" not in {attributes.get("id") for _, attributes in page.tags}
    assert "#adaptation" not in {link["href"] for link in page.all("a")}
