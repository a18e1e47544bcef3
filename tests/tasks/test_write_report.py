"""The pages: what they say, also of what is missing, what they escape, and a browser's view."""

import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.browser import Browser, find_chromium
from tasks import records
from tasks.label_maps import encode_image
from tasks.params import Params
from tasks.shards import parse_uri
from tasks.write_report import run

Row = dict[str, Any]
Make = Callable[..., Params]

HOSTILE = "a <script>alert(\"1\")</script> car & 'boat'"
"""As in the run of the fixture."""
NOTHING: Row = {
    "miou": None,
    "reference_miou": None,
    "ratio": None,
    "per_class": {},
    "reference_per_class": {},
    "images": 0,
    "test_set": "none",
    "not_measured": ["Nothing was measured on real images."],
}


class Page(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def params(make_params: Make) -> Params:
    return make_params({"expand_prompts.classes": ["car", "boat"]})


def written(params: Params, root: Path) -> str:
    run(params, root)
    return (root / "report/index.html").read_text()


def files(root: Path) -> dict[str, bytes]:
    found = sorted((root / "report").rglob("*"))
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in found if path.is_file()
    }


def test_the_folder_stands_alone(params: Params, finished_run: Path) -> None:
    run(params, finished_run)
    report = finished_run / "report"
    assert sorted(path.name for path in (report / "data").iterdir()) == [
        "lineage-0000.js",
        "pictures-0000.js",
        "table-0000.js",
    ]
    for name in ("index.html", "gallery.html"):
        text = (report / name).read_text()
        page = Page(text)
        wanted = [tag.get("src") or "" for tag in page.all("script") + page.all("img")]
        wanted += [tag["href"] or "" for tag in page.all("link") + page.all("a")]
        for target in filter(None, wanted):
            if not target.startswith(("#", "data:image/")):
                assert (report / target.partition("#")[0]).is_file(), target
        targets = {attributes.get("id") for _, attributes in page.tags}
        inside = {href[1:] for href in wanted if href.startswith("#")}
        assert inside <= targets
    loaded = b"".join(data for name, data in files(finished_run).items() if "/data/" not in name)
    assert b"http:" not in loaded and b"https:" not in loaded
    assert b"url(" not in loaded and b"@import" not in loaded


def test_the_overview_shows_result_funnel_and_samples(params: Params, finished_run: Path) -> None:
    page = Page(written(params, finished_run))
    words = re.sub(r"\s+", " ", page.words)
    for expected in (
        "0.700 mIoU, trained on synthetic images only",
        "0.900 mIoU of the reference",
        "78 % of the reference",
        "covers too little of the image",
        "min_area 0.04",
        "0123456789abcdef…",
        "64x64 pixels, 10 steps of unipc, guidance 4, bfloat16",
        "synthetic only 100.0 %",
        "images_per_class: 150",
        "1,234 prompts with 1,001 distinct texts and 7 distinct words for classes",
        "<car> 1,234 1,200 0 34 1: 20, 3: 14 7 1,001 233 3",
    ):
        assert expected in words
    links = [link["href"] for link in page.all("a")]
    assert "gallery.html#sample=sample-0" in links
    assert "gallery.html#rule=min_area" in links
    assert "gallery.html#class=boat" in links


def test_confusion_and_trust_are_shown_where_they_are_known(
    params: Params, finished_run: Path
) -> None:
    without = Page(written(params, finished_run)).words
    assert "What is taken for what" not in without and "Trust" not in without
    table = "true class,background,car,boat\nbackground,90,10,0\ncar,0,75,25\nboat,0,0,0\n"
    (finished_run / "data/evaluation/confusion.csv").write_text(table)
    path = finished_run / "metrics/training.json"
    shares = {"background": 1.0, "car": 0.5, "boat": None}
    row = {"iteration": 20, "strength": 1.0, "reliable": 0.8, "reliable_by_class": shares}
    records.write_json(path, records.read_json(path) | {"reliability": [row]})
    words = re.sub(r"\s+", " ", Page(written(params, finished_run)).words)
    assert "car 75 25 boat" in words
    assert "car taken for boat 25.0 %" in words
    assert "Trust, by class background1.00 car0.50 Over" in words


class Controls(HTMLParser):
    """What a page lets its reader use, each with the name that is read out for it."""

    USED = ("button", "input", "select", "summary", "textarea")

    def __init__(self, text: str) -> None:
        super().__init__()
        self._open: list[tuple[str, list[str]]] = []
        self._labels: dict[str | None, list[str]] = {}
        self._found: list[tuple[dict[str, str | None], list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag in ("button", "label", "option", "summary"):
            self._open.append((tag, []))
        words = self._open[-1][1] if self._open else []
        if tag == "label" and "for" in known:
            self._labels[known["for"]] = words
        elif tag in self.USED:
            self._found.append((known, words))

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1][0] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open:
            self._open[-1][1].append(data)

    @property
    def names(self) -> list[str]:
        return [
            known.get("aria-label") or "".join(self._labels.get(known.get("id"), words)).strip()
            for known, words in self._found
        ]


def test_every_picture_has_a_text_and_every_control_a_name(
    adapted: Params, finished_run: Path
) -> None:
    write_adaptation(finished_run, best=10)
    text = written(adapted, finished_run)
    page = Page(text)
    assert page.all("img") and all("alt" in image for image in page.all("img"))
    drawings = [one for one in page.all("svg") if one.get("aria-hidden") != "true"]
    assert drawings and all(drawing.get("aria-label") for drawing in drawings)
    assert Controls(text).names == [
        "10 kept", "20", "All parameters", "How long the last run took",
    ]  # fmt: skip
    gallery = (finished_run / "report/gallery.html").read_text()
    assert Controls(gallery).names == [
        "Search prompts, or an id", "Sort", "Opacity", "labels", "image", "attention",
        "reliability", "Keys", "Filters", "only with pictures 3", "clear filters", "close",
    ]  # fmt: skip
    unnamed = '<label><input></label> <button aria-label=""></button> <select><option>a</select>'
    assert Controls(unnamed).names == ["", "", ""]


def test_what_users_write_is_escaped(make_params: Make, finished_run: Path) -> None:
    odd = '"><script>x</script>'
    classes = ["car", "boat", {"name": odd, "phrases": ["thing"]}]
    run(make_params({"expand_prompts.classes": classes}), finished_run)
    for name, data in files(finished_run).items():
        assert b"<script>x" not in data and b"<script>alert" not in data, name
    gallery = Page((finished_run / "report/gallery.html").read_text())
    about = json.loads(gallery.words[gallery.words.index('{"samples"') :].partition("\n")[0])
    assert [one["name"] for one in about["classes"]] == ["car", "boat", odd]
    assert len(Page((finished_run / "report/index.html").read_text()).all("script")) == 1


def write_adaptation(root: Path, best: int) -> None:
    """What a training of 20 steps leaves, with the same hostile caption everywhere."""
    held_out = [[0, 0.4], [10, 0.5], [20, 0.6]] if best == 0 else [[0, 0.4], [10, 0.3], [20, 0.35]]
    training = {
        "steps": 20,
        "best_step": best,
        "stopped_early": True,
        "images": 7,
        "held_out_images": 1,
        "seconds": 200.0,
        "parameters": 1234,
        "curve": [[10, 0.4], [20, 0.3]],
        "held_out": held_out,
        "sheets": [HOSTILE],
    }
    record = {
        "source": "trained",
        "digest": "fedcba9876543210" * 4,
        "rank": 4,
        "alpha": 2.0,
        "layers": ["self", "cross"],
        "targets": ["to_q", "to_k"],
        "images": [],
    }
    frame = encode_image(np.full((8, 8, 3), 200, np.uint8))
    path = root / "frames/one.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(frame)
    entry = {"name": "one.png", "digest": hashlib.sha256(frame).hexdigest(), "caption": HOSTILE}
    record["images"] = [entry, *[{**entry, "name": f"gone{number}.png"} for number in range(7)]]
    measured = {"held_out_loss_before": 0.4, "held_out_loss_after": 0.3, "fall": 0.25}
    records.write_json(root / "metrics/adaptation.json", measured)
    records.write_json(root / "models/lora/adapter.json", record)
    records.write_json(root / "models/lora/training.json", training)
    for step, _ in held_out:
        sheet = root / f"models/lora/sheets/sheet-{step:05d}.png"
        sheet.parent.mkdir(exist_ok=True)
        sheet.write_bytes(encode_image(np.full((16, 64, 3), step, np.uint8)))


@pytest.fixture
def adapted(make_params: Make) -> Params:
    return make_params(
        {
            "expand_prompts.classes": ["car", "boat"],
            "adapt_lora.adapter": "train",
            "adapt_lora.images": "frames",
            "sample_images.height": 16,
            "sample_images.width": 16,
        }
    )


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


def test_without_background_nothing_is_called_so(make_params: Make, finished_run: Path) -> None:
    evaluation = records.read_json(finished_run / "metrics/evaluation.json")
    for key in ("per_class", "reference_per_class"):
        del evaluation[key]["background"]
    records.write_json(finished_run / "metrics/evaluation.json", evaluation)
    changes = {"expand_prompts.classes": ["car", "boat"], "expand_prompts.background": "none"}
    text = written(make_params(changes), finished_run)
    words = Page(text.partition("All parameters")[0]).words
    assert "background" not in words and "no label = 1 - max A - 0.1" in words
    red, blue = (f"--c:#{colour}" for colour in ("e5484d", "3e7bf0"))  # of the first two classes
    assert f'{red}" aria-hidden="true"></span>car' in text
    assert f'{blue}" aria-hidden="true"></span>boat' in text


def test_what_is_missing_is_said(make_params: Make, finished_run: Path) -> None:
    for path in (finished_run / "data/evaluation").iterdir():
        path.unlink()
    records.write_json(finished_run / "metrics/evaluation.json", NOTHING)
    off = {"trained": False, "why": "train_reference.labelled_set is none"}
    records.write_json(finished_run / "metrics/reference_training.json", off)
    training = {"iterations": 20, "images": 1, "curve": [[20, 1.0]], "val": []}
    records.write_json(finished_run / "metrics/training.json", training)
    changes = {"expand_prompts.classes": ["car", "boat"], "write_report.gallery": 0}
    words = re.sub(r"\s+", " ", Page(written(make_params(changes), finished_run)).words)
    assert words.count("not measured") >= 3
    for expected in (
        "Nothing was measured on real images.",
        "No reference was trained: train_reference.labelled_set is none.",
        "Nothing was held out to watch the training.",
    ):
        assert expected in words
    assert "Test images" not in words


def test_the_same_run_gives_the_same_bytes(params: Params, finished_run: Path) -> None:
    run(params, finished_run)
    first = files(finished_run)
    run(params, finished_run)
    assert files(finished_run) == first


def test_samples_without_pictures_stay_in_the_table(make_params: Make, finished_run: Path) -> None:
    changes = {"expand_prompts.classes": ["car", "boat"], "write_report.gallery": 0}
    run(make_params(changes), finished_run)
    names = [path.name for path in (finished_run / "report/data").iterdir()]
    assert sorted(names) == ["lineage-0000.js", "table-0000.js"]


def damage(root: Path) -> None:
    """The rejected sample's image and attention are cut off, as `score_masks` then says."""
    path = root / "data/dataset/index.parquet"
    rows = records.read_rows(path)
    (root / "data/samples/shards/2.tar").write_bytes(bytes(600))
    rows[2] |= {"rule": "finite", "reason": "the image cannot be read", "value": None}
    records.write_table(path, rows, records.DATASET)


def test_a_damaged_sample_stays_in_the_table_with_its_reason(
    params: Params, finished_run: Path
) -> None:
    damage(finished_run)
    run(params, finished_run)
    binary = find_chromium()
    if binary is None:
        pytest.skip("no Chromium is installed")
    with Browser(binary) as browser:
        page = (finished_run / "report/gallery.html").as_uri()
        browser.open(f"{page}#sample=sample-2")
        assert browser.wait(SAMPLE) == "a boat"
        verdict = browser.evaluate("document.querySelector('#sample .verdict').textContent")
        assert verdict == "rejected the image cannot be read"
        quiet = browser.evaluate("document.querySelector('#sample .panel.quiet').textContent")
        assert quiet == "This sample has no picture: the image cannot be read."
        assert browser.errors == []


@pytest.fixture
def gallery(params: Params, finished_run: Path) -> Iterator[Browser]:
    """The gallery of three samples, opened from disk, its table loaded."""
    binary = find_chromium()
    if binary is None:
        pytest.skip("no Chromium is installed")
    run(params, finished_run)
    with Browser(binary) as browser:
        browser.open((finished_run / "report/gallery.html").as_uri())
        browser.wait(SHOWN)
        yield browser
        assert browser.errors == []


SHOWN = (
    "document.querySelector('#loading')?.hidden && document.querySelectorAll('.layers img').length"
)
CONTROLS = "[...document.querySelectorAll('a, button, input, select, summary')]"
NAME = "[one.ariaLabel, one.labels?.[0]?.textContent, one.textContent].join('').trim()"
CARDS = "[...document.querySelectorAll('.card .prompt')].map((one) => one.textContent)"


def go(browser: Browser, hash_: str) -> None:
    browser.evaluate(f"void (location.hash = {json.dumps(hash_)})")


def tick(browser: Browser, value: str) -> None:
    browser.evaluate(f"document.querySelector('.ticks input[value={value}]').click()")


def cards(browser: Browser, hash_: str) -> list[str]:
    """The prompts that an address shows, in its order where it asks for one."""
    go(browser, hash_)
    browser.wait(f"location.hash === {json.dumps(hash_)}")
    browser.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    found: list[str] = browser.evaluate(CARDS)
    return found if "sort=" in hash_ else sorted(found)


def test_the_pages_open_from_disk_without_errors(gallery: Browser, finished_run: Path) -> None:
    assert sorted(gallery.evaluate(CARDS)) == sorted(["a car", "a boat", HOSTILE])
    assert gallery.evaluate("document.querySelector('#told').textContent") == "3 of 3 samples"
    images = "[...document.querySelectorAll('.layers img')]"
    assert gallery.wait(f"{images}.every((one) => one.naturalWidth > 0) && {images}.length") == 6
    assert gallery.evaluate("document.querySelectorAll('body script').length") == 6
    assert gallery.evaluate(f"{CONTROLS}.length") > 12
    assert gallery.evaluate(f"{CONTROLS}.filter((one) => !{NAME}).length") == 0
    ground = "getComputedStyle(document.body).backgroundColor"
    seen = {}
    for scheme, width in (("light", 1280), ("dark", 390)):
        gallery.resize(width, 800)
        colours = {"name": "prefers-color-scheme", "value": scheme}
        gallery.call("Emulation.setEmulatedMedia", features=[colours])
        assert gallery.evaluate("document.documentElement.scrollWidth") <= width
        seen[scheme] = gallery.evaluate(ground)
    assert seen == {"light": "rgb(246, 245, 242)", "dark": "rgb(20, 22, 26)"}
    gallery.open((finished_run / "report/index.html").as_uri())
    assert gallery.wait("document.querySelector('#timings') && document.images.length > 0")


def test_filters_narrow_the_gallery(gallery: Browser) -> None:
    assert cards(gallery, "#class=boat") == sorted(["a boat", HOSTILE])
    assert cards(gallery, "#class=boat&verdict=rejected") == ["a boat"]
    assert cards(gallery, "#rule=min_area") == ["a boat"]
    assert cards(gallery, "#verdict=val") == [HOSTILE]
    assert cards(gallery, "#relation=hyponym") == [HOSTILE]
    # It has a car, too, but not as a hyponym.
    assert cards(gallery, "#class=car&relation=hyponym") == []
    assert cards(gallery, "#q=SCRIPT+car") == [HOSTILE]
    assert cards(gallery, "#q=sample-2") == ["a boat"]
    assert cards(gallery, "#area=0.1..0.25") == [HOSTILE]
    assert cards(gallery, "#area=0.1..") == sorted(["a car", HOSTILE])
    assert cards(gallery, "#area=0.5..") == []
    assert cards(gallery, "#nonsense=1&page=99") == sorted(["a boat", "a car", HOSTILE])


def test_ticks_and_search_write_the_address(gallery: Browser) -> None:
    tick(gallery, "boat")
    tick(gallery, "rejected")
    assert gallery.evaluate("location.hash") == "#class=boat&verdict=rejected"
    assert gallery.evaluate(CARDS) == ["a boat"]
    output = "document.querySelector('.ticks li:has([value={}]) output').textContent"
    counts = {name: gallery.evaluate(output.format(name)) for name in ("car", "boat", "train")}
    assert counts == {"car": "0", "boat": "1", "train": "0"}
    assert gallery.evaluate(output.format("val")) == "1"
    gallery.evaluate("document.querySelector('#clear').click()")
    assert len(gallery.evaluate(CARDS)) == 3
    gallery.press("/")
    gallery.call("Input.insertText", text="boat")
    assert gallery.evaluate("location.hash") == "#q=boat"
    assert sorted(gallery.evaluate(CARDS)) == sorted(["a boat", HOSTILE])


def test_scores_order_the_gallery(gallery: Browser) -> None:
    assert cards(gallery, "#sort=row") == ["a car", HOSTILE, "a boat"]
    # By the least of its classes, or by the largest: 0.2 and 0.4 of the sample that has two.
    assert cards(gallery, "#sort=area") == ["a boat", HOSTILE, "a car"]
    assert cards(gallery, "#sort=-area") == [HOSTILE, "a car", "a boat"]
    listed = "[...document.querySelector('#sort').options].map((one) => one.value)"
    options = gallery.evaluate(listed)
    assert options == ["", "row", "area", "-area", "peak", "-peak", "margin", "-margin"]


SAMPLE = "document.querySelector('#sample h1')?.textContent"


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
    make_params: Make, finished_run: Path
) -> None:
    binary = find_chromium()
    if binary is None:
        pytest.skip("no Chromium is installed")
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
    with Browser(binary) as browser:
        browser.open(f"{(finished_run / 'report/gallery.html').as_uri()}#sample=sample-1")
        browser.wait(f"Boolean({SAMPLE})")
        assert score_line(browser, "area") == [
            "area", "≥ 0.150, 0.500 (quantile 0.5), ≤ 0.8", "0.200", "0.400 ✗",
        ]  # fmt: skip
        assert browser.errors == []


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


def test_sliders_and_views_change_what_is_seen(gallery: Browser) -> None:
    gallery.evaluate("""(() => {
        const slider = document.querySelector('.opacity');
        slider.value = 20;
        slider.dispatchEvent(new Event('input', { bubbles: true }));
    })()""")
    layer = "getComputedStyle(document.querySelector('.layer')).opacity"
    assert gallery.evaluate(layer) == "0.2"
    gallery.press("v")
    gallery.wait("!document.querySelector('.layer')")
    gallery.press("v")  # both words of the sample that has two
    gallery.wait("document.querySelectorAll('.layer').length === 4")
    gallery.evaluate("""(() => {
        const slider = document.querySelector('[aria-label="area, from"]');
        slider.value = 900;
        slider.dispatchEvent(new Event('input'));
    })()""")
    assert gallery.evaluate("location.hash").startswith("#area=")


def test_a_swipe_goes_to_the_next_sample(gallery: Browser) -> None:
    gallery.resize(390, 800)
    gallery.call("Emulation.setTouchEmulationEnabled", enabled=True)
    go(gallery, "#sort=row&sample=sample-0")
    assert gallery.wait(SAMPLE) == "a car"
    for kind, x in (("touchStart", 300), ("touchMove", 150), ("touchEnd", None)):
        points = [] if x is None else [{"x": x, "y": 250}]
        gallery.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    gallery.wait("location.hash === '#sort=row&sample=sample-1'")


def test_without_pictures_a_sample_says_so(make_params: Make, finished_run: Path) -> None:
    binary = find_chromium()
    if binary is None:
        pytest.skip("no Chromium is installed")
    changes = {"expand_prompts.classes": ["car", "boat"], "write_report.gallery": 1}
    run(make_params(changes), finished_run)
    with Browser(binary) as browser:
        browser.open((finished_run / "report/gallery.html").as_uri())
        browser.wait("document.querySelectorAll('.shot.empty').length === 2")
        browser.evaluate("document.querySelector('#pictured').click()")
        assert len(browser.evaluate(CARDS)) == 1
        assert browser.errors == []


@pytest.mark.parametrize("early", [False, True], ids=["later", "before the script"])
def test_times_of_a_run_are_shown_on_demand(
    gallery: Browser, finished_run: Path, *, early: bool
) -> None:
    stages = [{"stage": "<b>one</b>", "outcome": "ran", "seconds": 1.25}]
    value = {"started": "today", "host": "here", "stages": stages}
    path = finished_run / ".maskloom/timings.js"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"maskloomTimings({json.dumps(value)});")
    opened = "document.querySelector('#timings')?.setAttribute('open', '')"
    if early:
        watched = "document, {childList: true, subtree: true}"
        watch = f"new MutationObserver(() => {opened}).observe({watched})"
        gallery.call("Page.addScriptToEvaluateOnNewDocument", source=watch)
    gallery.open((finished_run / "report/index.html").as_uri())
    if not early:
        gallery.wait(
            "Boolean(document.querySelector('#timings')) && document.readyState === 'complete'"
        )
        gallery.evaluate(opened)
    told = gallery.wait("document.querySelector('#timings tbody')?.innerText")
    assert told.split("\t") == ["<b>one</b>", "ran", "1.3"]
