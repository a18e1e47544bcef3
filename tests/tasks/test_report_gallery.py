"""The gallery in a browser: what it opens with, filters, order, views."""

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.browser import Browser
from tasks.params import Params
from tasks.write_report import run
from tests.toys.reports import CARDS, go
from tests.toys.runs import SCRIPT_PROMPT as HOSTILE

Make = Callable[..., Params]
CONTROLS = "[...document.querySelectorAll('a, button, input, select, summary')]"
NAME = "[one.ariaLabel, one.labels?.[0]?.textContent, one.textContent].join('').trim()"


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


def test_without_pictures_a_sample_says_so(
    browser: Browser, make_params: Make, finished_run: Path
) -> None:
    changes = {"expand_prompts.classes": ["car", "boat"], "write_report.gallery": 1}
    run(make_params(changes), finished_run)
    browser.open((finished_run / "report/gallery.html").as_uri())
    browser.wait("document.querySelectorAll('.shot.empty').length === 2")
    browser.evaluate("document.querySelector('#pictured').click()")
    assert len(browser.evaluate(CARDS)) == 1
