"""A sample's page in a browser: its lineage, its verdict, and the ways to the next one."""

import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path

from benchmarks.browser import Browser
from tasks import records
from tasks.params import Params
from tasks.shards import parse_uri
from tasks.write_report import run
from tests.toys.reports import CARDS, go, name_car_twice
from tests.toys.runs import SCRIPT_PROMPT as HOSTILE

Make = Callable[..., Params]

SAMPLE = "document.querySelector('#sample h1')?.textContent"


def damage(root: Path) -> None:
    """The rejected sample's image and attention are cut off, as `score_masks` then says."""
    path = root / "data/dataset/index.parquet"
    rows = records.read_rows(path)
    (root / "data/samples/shards/2.tar").write_bytes(bytes(600))
    rows[2] |= {"rule": "finite", "reason": "the image cannot be read", "value": None}
    records.write_table(path, rows, records.DATASET)


def test_a_damaged_sample_stays_in_the_table_with_its_reason(
    browser: Browser, params: Params, finished_run: Path
) -> None:
    damage(finished_run)
    run(params, finished_run)
    page = (finished_run / "report/gallery.html").as_uri()
    browser.open(f"{page}#sample=sample-2")
    assert browser.wait(SAMPLE) == "a boat"
    verdict = browser.evaluate("document.querySelector('#sample .verdict').textContent")
    assert verdict == "rejected the image cannot be read"
    quiet = browser.evaluate("document.querySelector('#sample .panel.quiet').textContent")
    assert quiet == "This sample has no picture: the image cannot be read."


def test_a_permalink_opens_a_sample_with_its_lineage(gallery: Browser, finished_run: Path) -> None:
    page = (finished_run / "report/gallery.html").as_uri()
    gallery.open("about:blank")
    gallery.open(f"{page}#verdict=val&sample=sample-1")
    assert gallery.wait(SAMPLE) == HOSTILE
    text = gallery.evaluate("document.querySelector('#sample').innerText")
    for expected in (
        "kept, held out",
        str(2**62 + 1),
        "0123456789abcdef" * 4,
        "a template",
        "a hyponym, 1 level below it",
        "data/samples/shards/1.tar from byte 512",
        "python -m tasks.lineage explain sample-1",
        "1 of 1",
    ):
        assert expected in text
    shard = (finished_run / "data/samples/shards/1.tar").read_bytes()
    assert f"data/samples/shards/1.tar {hashlib.sha256(shard).hexdigest()}" in text
    row = records.read_rows(finished_run / "data/dataset/index.parquet")[1]
    for part in ("image", "attention", "label", "reliability"):
        data = parse_uri(row[part]).below(finished_run).read()
        assert f"{len(data):,} bytes, CRC-32 {zlib.crc32(data):08x}" in text
    marks = "[...document.querySelectorAll('#sample mark')].map((one) => one.textContent)"
    assert gallery.evaluate(marks) == ["car", "boat"]
    assert gallery.evaluate("document.querySelectorAll('.choices button').length") == 5
    assert not gallery.evaluate("Boolean(document.querySelector('#sample script'))")
    gallery.resize(390, 800)
    assert gallery.evaluate("document.documentElement.scrollWidth") <= 390


def test_attention_is_told_by_its_class(
    browser: Browser, params: Params, finished_run: Path
) -> None:
    name_car_twice(finished_run)
    run(params, finished_run)
    browser.open(f"{(finished_run / 'report/gallery.html').as_uri()}#sample=sample-1")
    assert browser.wait(SAMPLE) == HOSTILE
    texts = "[...document.querySelectorAll('#sample {}')].map((one) => one.textContent)"
    layers = ["Image", "Labels", "Attention: car", "Attention: boat", "Reliability"]
    assert browser.evaluate(texts.format(".choices span")) == layers
    assert browser.evaluate(texts.format("mark")) == ["script", "boat"]


def test_a_rejected_sample_says_why(gallery: Browser) -> None:
    go(gallery, "#sample=sample-2")
    assert gallery.wait(SAMPLE) == "a boat"
    verdict = gallery.evaluate("document.querySelector('#sample .verdict').textContent")
    assert verdict == "rejected boat: area 0.020 below min_area 0.04"
    assert score_line(gallery, "area") == ["area", "≥ 0.04, ≤ 0.8", "0.0200 ✗"]
    assert score_line(gallery, "margin") == ["margin", "≥ 0.1", "0.400"]


REST = {"peak": 0.3, "margin": 0.4}


def score_line(browser: Browser, name: str) -> list[str]:
    """A line of the scores of the sample that is shown."""
    lines: list[list[str]] = browser.evaluate(
        "[...document.querySelectorAll('#sample tbody tr')]"
        ".map((line) => [...line.cells].map((cell) => cell.textContent))"
    )
    return next(line for line in lines if line[0] == name)


def test_a_bound_that_is_a_quantile_is_told_with_its_number(
    browser: Browser, make_params: Make, finished_run: Path
) -> None:
    areas = {"sample-0": [("car", 0.1)], "sample-1": [("car", 0.2), ("boat", 0.9)]}
    areas["sample-2"] = [("boat", 0.1)]
    rows = [
        {"sample_id": name, "finite": True}
        | {"classes": [{"name": of, "area": area} | REST for of, area in classes]}
        for name, classes in areas.items()
    ]
    records.write_table(finished_run / "data/scores/index.parquet", rows, records.SCORES)
    changes = {
        "expand_prompts.classes": ["car", "boat"],
        "filter_masks.min_area": {"quantile": 0.5},
    }
    run(make_params(changes), finished_run)
    browser.open(f"{(finished_run / 'report/gallery.html').as_uri()}#sample=sample-1")
    browser.wait(f"Boolean({SAMPLE})")
    assert score_line(browser, "area") == [
        "area", "≥ 0.150, 0.500 (quantile 0.5), ≤ 0.8", "0.200", "0.400 ✗",
    ]  # fmt: skip


def test_an_unknown_sample_is_told(gallery: Browser) -> None:
    go(gallery, "#sample=nobody")
    told = gallery.wait("document.querySelector('#sample .panel')?.textContent")
    assert told == "There is no sample nobody in this report. To the gallery"


def test_keys_walk_through_the_samples(gallery: Browser) -> None:
    go(gallery, "#sort=row")
    gallery.wait(f"({CARDS})[0] === 'a car'")
    gallery.press("ArrowRight")
    gallery.evaluate("document.activeElement.click()")
    assert gallery.wait(SAMPLE) == "a car"
    gallery.press("ArrowRight")
    gallery.wait(f"{SAMPLE} !== 'a car'")
    assert gallery.evaluate("location.hash") == "#sort=row&sample=sample-1"
    gallery.press("2")
    pressed = "document.querySelector('.choices [aria-pressed=true]').textContent"
    assert gallery.evaluate(pressed) == "Labels"
    gallery.press("1")
    assert gallery.evaluate(pressed) == "Image"
    gallery.press("Escape")
    gallery.wait("!document.querySelector('#gallery').hidden")
    assert gallery.evaluate("location.hash") == "#sort=row"


def test_a_swipe_goes_to_the_next_sample(gallery: Browser) -> None:
    gallery.resize(390, 800)
    gallery.call("Emulation.setTouchEmulationEnabled", enabled=True)
    go(gallery, "#sort=row&sample=sample-0")
    assert gallery.wait(SAMPLE) == "a car"
    for kind, x in (("touchStart", 300), ("touchMove", 150), ("touchEnd", None)):
        points = [] if x is None else [{"x": x, "y": 250}]
        gallery.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    gallery.wait("location.hash === '#sort=row&sample=sample-1'")
