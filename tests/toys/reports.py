"""The report of a finished run: its pages as HTML, its gallery in a browser."""

import json
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from benchmarks.browser import Browser, find_chromium
from tasks.captures import Captured
from tasks.params import Params
from tasks.records import DATASET, PROMPTS, read_rows, write_table
from tasks.shards import write_shard
from tasks.write_report import run
from tests.toys.runs import SCRIPT_PROMPT

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
def browser() -> Iterator[Browser]:
    """A browser in whose pages no script fails."""
    binary = find_chromium()
    if binary is None:
        pytest.skip("no Chromium is installed")
    with Browser(binary) as opened:
        yield opened
        assert opened.errors == []


@pytest.fixture
def gallery(browser: Browser, params: Params, finished_run: Path) -> Browser:
    """The gallery of three samples, opened from disk, its table loaded."""
    run(params, finished_run)
    browser.open((finished_run / "report/gallery.html").as_uri())
    browser.wait(SHOWN)
    return browser


def go(browser: Browser, hash_: str) -> None:
    browser.evaluate(f"void (location.hash = {json.dumps(hash_)})")


def name_car_twice(root: Path) -> np.ndarray:
    """Let the prompt that has both classes name the car before the boat as well, as "script".

    Returns:
        The attention ``float16 (3, 16, 16)`` of its phrases: car, boat, car.
    """
    maps = np.random.default_rng(1).random((3, 16, 16)).astype(np.float16)
    cross = {("middle", (16, 16)): maps, ("middle", (8, 8)): maps[:, ::2, ::2]}
    files = [("x.attention.safetensors", Captured(cross).encode())]
    (member,) = write_shard(root / "data/samples/shards/twice.tar", files)
    prompts, dataset = root / "data/prompts.parquet", root / "data/dataset/index.parquet"
    rows = read_rows(prompts)
    car, boat = rows[1]["classes"]
    start = SCRIPT_PROMPT.index("script")
    first = car | {"phrase": "script", "start": start, "end": start + len("script")}
    rows[1]["classes"] = [first, boat, car]
    write_table(prompts, rows, PROMPTS)
    rows = read_rows(dataset)
    rows[1]["attention"] = member.uri.replace(f"{root}/", "", 1)
    write_table(dataset, rows, DATASET)
    return maps
