"""The report of a finished run: its pages as HTML, its gallery in a browser."""

import json
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks.browser import Browser, find_chromium
from tasks.params import Params
from tasks.write_report import run

Make = Callable[..., Params]

SHOWN = (
    "document.querySelector('#loading')?.hidden && document.querySelectorAll('.layers img').length"
)
CARDS = "[...document.querySelectorAll('.card .prompt')].map((one) => one.textContent)"


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
    """The parameters of `finished_run`."""
    return make_params({"expand_prompts.classes": ["car", "boat"]})


def written(params: Params, root: Path) -> str:
    """The overview, freshly written."""
    run(params, root)
    return (root / "report/index.html").read_text()


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


def go(browser: Browser, hash_: str) -> None:
    browser.evaluate(f"void (location.hash = {json.dumps(hash_)})")
