"""The page about two revisions, from what ``tasks.lineage diff`` finds, and a browser's view."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.browser import Browser
from benchmarks.lineage_state import commit, record
from tasks.compare_revisions import class_bars, comparison, with_change, write_comparison
from tasks.dataset_diff import compare
from tasks.records import DATASET, read_json, read_rows, write_json, write_table
from tasks.revisions import open_revision

HOSTILE = "<script>alert(1)</script>"
SAMPLE = {"prompt_id": "p", "sample_id": "0123", "kept": True, "reason": "", "split": "train"}
REJECTED = SAMPLE | {"kept": False, "reason": "car: area 0.020 below min_area 0.04", "split": ""}
FOUND: dict[str, Any] = {
    "before": {"revision": "v1", "commit": "ab" * 20},
    "after": {"revision": "workspace", "commit": None},
    "parameters": [{"key": f"a.{HOSTILE}", "before": [HOSTILE], "after": None}],
    "code": [{"path": "tasks/x.py", "change": "changed", "stages": ["sample_images"]}],
    "classes": [{"class": HOSTILE, "before": 10, "after": 8}],
    "samples": {
        "before": 1000,
        "after": 1010,
        "added": 12,
        "removed": 2,
        "changed": 5,
        "changed_images": 0,
        "changed_labels": 1,
        "changed_verdicts": 4,
        "now_kept": 1,
        "now_rejected": 3,
        "examples": {
            "added": [SAMPLE],
            "removed": [SAMPLE | {"sample_id": "4567"}],
            "changed": [{"what": ["verdict"], "before": SAMPLE, "after": REJECTED}],
        },
    },
    "metrics": [{"key": "evaluation.miou", "before": 0.5, "after": 0.625}],
}


def test_the_page_says_what_changed_and_escapes_it() -> None:
    page = comparison(FOUND, "report/")
    assert HOSTILE not in page and page.count("&lt;script&gt;") == 3
    for expected in (
        "1,010</strong>samples, 1,000 before",
        "12</strong>came, 2 went",
        'href="report/gallery.html#sample=0123"',
        "now rejected: car: area 0.020 below min_area 0.04",
        "+0.125",
        "-2</td>",
        "tasks/x.py",
        "<b>v1</b>",
    ):
        assert expected in page, expected
    assert "<link" not in page and "src=" not in page


def test_nothing_changed_is_said() -> None:
    none = {"added": [], "removed": [], "changed": []}
    counts = {key: 0 for key in FOUND["samples"] if key != "examples"}
    same = {"parameters": [], "code": [], "classes": [], "metrics": []}
    page = comparison(FOUND | same | {"samples": counts | {"examples": none}}, "report/")
    assert page.count("None changed.") == 3
    assert "Every sample is the same." in page


def test_numbers_have_a_difference() -> None:
    assert with_change({"key": "a", "before": 1, "after": 3})["change"] == "+2"
    row = with_change({"key": "a", "before": None, "after": {"quantile": 0.05}})
    assert (row["after"], row["change"]) == ('{"quantile": 0.05}', "")


def test_bars_are_shares_of_the_largest_number() -> None:
    (bar,) = class_bars([{"class": "car", "before": 4, "after": 8}])
    assert (bar["before_share"], bar["after_share"]) == (0.5, 1.0)
    assert class_bars([]) == []


def test_its_links_lead_to_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_comparison(FOUND, Path("pages/week.html"))
    assert "../report/gallery.html#sample=0123" in Path("pages/week.html").read_text()
    write_comparison(FOUND, Path("week.html"))
    assert '"report/gallery.html#sample=0123' in Path("week.html").read_text()


def change(root: Path) -> str:
    """Reject a sample of car with another threshold, as a second commit; returns the sample."""
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["filter_masks"]["min_area"] = 0.5
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    path = root / "data/dataset/index.parquet"
    rows = read_rows(path)
    reason = "car: area 0.250 below min_area 0.5"
    rows[4] |= {"kept": False, "split": "", "rule": "min_area", "reason": reason}
    write_table(path, rows, DATASET)
    metrics = read_json(root / "metrics/filter.json")
    write_json(root / "metrics/filter.json", metrics | {"kept": metrics["kept"] - 1})
    (root / "tasks/filter_masks.py").write_text("# other\n")
    record(root)
    commit(root, "the second state")
    return str(rows[4]["sample_id"])


def test_a_browser_shows_what_changed(browser: Browser, lineage_root: Path, tmp_path: Path) -> None:
    sample = change(lineage_root)
    before, after = (open_revision(name, lineage_root) for name in ("HEAD~1", "HEAD"))
    write_comparison(compare(before, after), tmp_path / "real.html", tmp_path / "report")
    write_comparison(FOUND, tmp_path / "hostile.html", tmp_path / "report")
    browser.open((tmp_path / "real.html").as_uri())
    browser.wait("document.querySelector('#code') && document.readyState === 'complete'")

    def lines(section: str) -> list[list[str]]:
        found: list[list[str]] = browser.evaluate(
            f"[...document.querySelectorAll('#{section} tbody tr')]"
            ".map((line) => [...line.cells].map((cell) => cell.innerText.trim()))"
        )
        return found

    assert lines("parameters") == [["filter_masks.min_area", "0.04", "0.5", "+0.46"]]
    assert lines("metrics") == [["filter.kept", "5", "4", "-1"]]
    assert ["tasks/filter_masks.py", "changed", "filter_masks"] in lines("code")
    assert lines("samples") == [["car", "", "2", "1", "-1"], ["dog", "", "3", "3", ""]]
    tiles = "[...document.querySelectorAll('.tile strong')].map((one) => one.textContent)"
    assert browser.evaluate(tiles) == ["6", "0", "1", "+0 \N{MINUS SIGN}1"]
    link = browser.evaluate("document.querySelector('.listed a').href")
    assert link == f"{(tmp_path / 'report').as_uri()}/gallery.html#sample={sample}"
    width = "document.querySelector('.balance .bar:not(.second) i').offsetWidth"
    whole = "document.querySelector('.balance .bar.second i').offsetWidth"
    assert browser.evaluate(f"{width} / {whole}") == pytest.approx(0.5, abs=0.02)
    for size in (1280, 390):
        browser.resize(size, 800)
        assert browser.evaluate("document.documentElement.scrollWidth") <= size
    browser.open((tmp_path / "hostile.html").as_uri())
    code = browser.wait("document.querySelector('#parameters code')?.textContent")
    assert code == f"a.{HOSTILE}"
    assert browser.evaluate("document.scripts.length") == 0
