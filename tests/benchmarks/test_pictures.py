"""The README's pictures: which samples they show, and how a sample is told and shot."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import pictures
from benchmarks.browser import Browser, find_chromium
from benchmarks.pictures import COLUMNS, choose, overview, shoot
from tasks.captures import Captured
from tasks.label_maps import encode_grey, encode_image, encode_label
from tasks.pictures import heat_layer, label_colours, label_layer
from tasks.records import write_json
from tasks.shards import write_shard


def sample(sample_id: str, split: str, *words: tuple[str, str]) -> dict[str, Any]:
    listed = [{"name": name, "relation": relation} for name, relation in words]
    return {"sample_id": sample_id, "split": split, "words": listed}


def test_the_first_of_each_kind_is_chosen_and_no_class_twice() -> None:
    samples = [
        sample("9", "val", ("tree", "plain")),
        sample("5", "val", ("car", "hyponym")),
        sample("4", "val", ("dog", "synonym")),
        sample("3", "val", ("car", "plain"), ("tree", "plain")),
        sample("2", "val", ("boat", "plain")),
        sample("1", "val", ("car", "plain")),
        sample("0", "train", ("bird", "plain")),
    ]
    assert [row["sample_id"] for row in choose(samples)] == ["3", "2", "4"]
    assert [row["sample_id"] for row in choose([*samples[:2], samples[3]])] == ["3", "9", "5"]


def test_says_which_kind_is_missing() -> None:
    with pytest.raises(SystemExit, match="of the kind 'plain'"):
        choose([sample("1", "val", ("car", "plain"), ("tree", "plain"))])


def test_a_sample_becomes_a_row_of_pictures(tmp_path: Path) -> None:
    label = np.zeros((8, 8), np.uint8)
    label[2:6, 2:6] = 1
    heats = np.linspace(0, 1, 32, dtype=np.float16).reshape(2, 4, 4)
    files = {
        "image": encode_image(np.full((8, 8, 3), 90, np.uint8)),
        "label": encode_label(label),
        "reliability": encode_grey(label * 200),
        "attention": Captured(
            {("middle", (4, 4)): heats, ("middle", (2, 2)): heats[:, :2, :2]}
        ).encode(),
    }
    written = write_shard(tmp_path / "one.tar", list(files.items()))
    uris = {kind: replace(at, path="one.tar").uri for kind, at in zip(files, written, strict=True)}
    write_json(tmp_path / "data/dataset/classes.json", ["background", "car", "dog"])
    words = [
        {"name": "dog", "phrase": "dog", "start": 12, "end": 15, "relation": "plain"},
        {"name": "car", "phrase": "sedan", "start": 2, "end": 7, "relation": "hyponym"},
    ]
    row = {"text": "a sedan & a dog", "words": words, **uris}

    page = overview([row], [label], tmp_path)

    car, dog = label_colours(2, background=True)[1:]
    assert f'a <b style="--c:rgb{car}">sedan</b> &amp; a <b style="--c:rgb{dog}">dog</b>' in page
    assert "<small>sedan: car</small>" in page
    assert page.count("<td>") == len(COLUMNS) - 1
    for heat, word in zip(heats, ("dog", "sedan"), strict=True):
        assert f'<img src="{heat_layer(heat)}" class="heat"></div><figcaption>{word}<' in page
    assert page.count(label_layer(label, label_colours(2, background=True))) == 2


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed")
def test_a_page_is_shot_and_a_picture_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    page.write_text("<body style='background: rgb(30, 90, 160)'>")
    with Browser(str(find_chromium()), 320, 200) as browser:
        browser.open(page.as_uri())
        browser.wait("document.body?.style.background")
        shoot(browser, tmp_path / "out/page.jpg")
        monkeypatch.setattr(pictures, "MAX_BYTES", 100)
        with pytest.raises(SystemExit, match="at most 100"):
            shoot(browser, tmp_path / "second.jpg")
    with Image.open(tmp_path / "out/page.jpg") as shot:
        assert shot.size == (320, 200)
        assert np.abs(np.asarray(shot).astype(int) - [30, 90, 160]).max() <= 4
    assert not (tmp_path / "second.jpg").exists()
