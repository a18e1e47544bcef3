"""The page about two revisions, from what ``tasks.lineage diff`` finds."""

from pathlib import Path
from typing import Any

import pytest

from tasks.compare_revisions import class_bars, comparison, with_change, write_comparison

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
