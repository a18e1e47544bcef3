"""The pages: what they say, also of what is missing, and what they escape."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks.browser import Browser
from tasks import records
from tasks.params import Params
from tasks.write_report import run
from tests.toys.adaptation import write_adaptation
from tests.toys.reports import Page, written
from tests.toys.runs import NOT_MEASURED

Make = Callable[..., Params]


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
        "64x64 pixels, 10 steps of unipc, guidance 2.5, bfloat16",
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
    records.write_json(finished_run / "metrics/evaluation.json", NOT_MEASURED)
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
