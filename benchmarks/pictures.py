"""The pictures of the README, made from the run in this folder: ``python -m benchmarks.pictures``.

One shows three samples on their way from prompt to network; the others are the report's pages in a
headless Chromium. Which samples are shown is a rule, see `choose`, so that nobody picks the best.
"""

import html
import io
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
from cyclopts import Parameter
from PIL import Image

from benchmarks.browser import Browser, find_chromium
from tasks.captures import decode_capture
from tasks.label_maps import decode
from tasks.pictures import RGB, data_uri, heat_layer, label_colours, label_layer, reliability_layer
from tasks.records import read_json, read_rows
from tasks.segmenter import Segmenter
from tasks.shards import parse_uri

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs/pictures"
WIDTH, HEIGHT = 1180, 800
MAX_BYTES = 150_000
"""Of a picture: the repository keeps every version of it."""
QUALITIES = (90, 85, 80, 70)
COLUMNS = ("prompt", "image", "attention", "mask", "reliability", "network's answer")
SEEN = "[...document.images].filter((one) => one.getBoundingClientRect().top < innerHeight)"
PICTURED = f"document.images.length && {SEEN}.every((one) => one.complete)"

Row = dict[str, Any]

STYLE = """
body { margin: 0; padding: 20px 24px; background: #fff; color: #23262b;
  font: 16px/1.35 "DejaVu Sans", system-ui, sans-serif; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
th { font-weight: 600; padding: 0 6px 8px; text-align: left; }
td { padding: 6px; vertical-align: middle; }
.prompt { font-size: 19px; padding-right: 14px; }
small { display: block; margin-top: 8px; font-size: 13px; color: #5d636d; }
b { color: var(--c); }
.layers { position: relative; aspect-ratio: 1; border-radius: 8px; overflow: hidden; }
.layers img { position: absolute; inset: 0; width: 100%; height: 100%; image-rendering: pixelated; }
.muted { filter: grayscale(.8) brightness(.65); }
.labels { opacity: .72; }
.layers .heat { image-rendering: auto; opacity: .85; }
.maps { display: flex; gap: 6px; }
figure { flex: 1; margin: 0; font-size: 13px; text-align: center; }
"""


def read_samples(root: Path) -> list[Row]:
    """The rows of ``data/dataset``, each with its prompt's class words as ``words``."""
    prompts = {row["prompt_id"]: row for row in read_rows(root / "data/prompts.parquet")}
    rows = read_rows(root / "data/dataset/index.parquet")
    return [row | {"words": prompts[row["prompt_id"]]["classes"]} for row in rows]


def choose(samples: Sequence[Row]) -> list[Row]:
    """Three kept samples that the network did not learn from, the first ones by id, a hash.

    One of several classes, one that names its class plainly, one by a synonym or hyponym; of these,
    the first that shows no class again, where there is one.

    Args:
        samples: see `read_samples`.

    Raises:
        SystemExit: there are not so many.
    """

    def kind(row: Row) -> str:
        if len(row["words"]) > 1:
            return "several"
        return "plain" if row["words"][0]["relation"] == "plain" else "another word"

    held_out = sorted((row for row in samples if row["split"] == "val"), key=_sample_id)
    chosen: list[Row] = []
    for wanted in ("several", "plain", "another word"):
        shown = {word["name"] for row in chosen for word in row["words"]}
        of_kind = [row for row in held_out if kind(row) == wanted]
        new = [row for row in of_kind if not shown & {word["name"] for word in row["words"]}]
        if not of_kind:
            raise SystemExit(f"data/dataset: no sample of split val is of the kind {wanted!r}")
        chosen.append((new or of_kind)[0])
    return chosen


def overview(chosen: Sequence[Row], answers: Iterable[np.ndarray], root: Path) -> str:
    """The page of some samples, a row each with the pictures of `COLUMNS`.

    Args:
        chosen: see `read_samples`.
        answers: the network's label map of each, ``uint8 (H, W)``.
        root: the run's folder.
    """
    names = read_json(root / "data/dataset/classes.json")
    rest = names[0] == "background"
    colours = label_colours(len(names) - rest, background=rest)
    lines = [
        f'<tr><td class="prompt">{_marked(row, dict(zip(names, colours, strict=True)))}</td>'
        + "".join(f"<td>{cell}</td>" for cell in _cells(row, answer, colours, root))
        for row, answer in zip(chosen, answers, strict=True)
    ]
    titles = "".join(f"<th>{title}</th>" for title in COLUMNS)
    return (
        f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>'
        f"<table><tr>{titles}</tr>{''.join(lines)}</table>"
    )


def _marked(row: Row, colours: dict[str, RGB]) -> str:
    """The prompt, its class words in their colours, and below what the other words stand for."""
    told, at = "", 0
    for word in sorted(row["words"], key=lambda word: int(word["start"])):
        told += html.escape(row["text"][at : word["start"]])
        at = word["end"]
        said = html.escape(row["text"][word["start"] : at])
        told += f'<b style="--c:rgb{colours[word["name"]]}">{said}</b>'
    told += html.escape(row["text"][at:])
    others = [word for word in row["words"] if word["relation"] != "plain"]
    meant = "; ".join(f"{word['phrase']}: {word['name']}" for word in others)
    return f"{told}<small>{html.escape(meant)}</small>" if meant else told


def _cells(row: Row, answer: np.ndarray, colours: list[RGB], root: Path) -> tuple[str, ...]:
    """Image, attention, mask, reliability and answer of a sample; ``colours`` by label value."""
    cross = decode_capture(_read(root, row["attention"])).cross
    finest = cross[max(cross, key=lambda kept: kept[1])]
    picture = data_uri(decode(_read(root, row["image"])))
    label, reliability = (decode(_read(root, row[key])) for key in ("label", "reliability"))
    maps = ""
    for word, heat in zip(row["words"], finest, strict=True):
        named = f"<figcaption>{html.escape(word['phrase'])}</figcaption>"
        map_ = _stack(picture, heat_layer(heat), "heat")
        maps += f"<figure>{map_}{named if len(row['words']) > 1 else ''}</figure>"
    return (
        _stack(picture),
        f'<div class="maps">{maps}</div>',
        _stack(picture, label_layer(label, colours), "labels"),
        _stack(reliability_layer(reliability)),
        _stack(picture, label_layer(answer, colours), "labels"),
    )


def _stack(picture: str, layer: str = "", kind: str = "") -> str:
    """A picture, greyed where a layer lies over it."""
    ground = f'<img src="{picture}"{" class=muted" if layer else ""}>'
    over = f'<img src="{layer}" class="{kind}">' if layer else ""
    return f'<div class="layers">{ground}{over}</div>'


def _read(root: Path, uri: str) -> bytes:
    return parse_uri(uri).below(root).read()


def _sample_id(row: Row) -> str:
    return str(row["sample_id"])


def shoot(browser: Browser, path: Path) -> None:
    """Write what the browser shows, as the best JPEG of at most `MAX_BYTES`.

    Raises:
        SystemExit: it is too large even at the lowest quality.
    """
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        browser.screenshot(Path(file.name))
        shot = Image.open(file.name).convert("RGB")
    for quality in QUALITIES:
        buffer = io.BytesIO()
        shot.save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
        if buffer.tell() <= MAX_BYTES:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(buffer.getvalue())
            print(f"{path}: {buffer.tell() // 1000} kB")
            return
    raise SystemExit(f"{path}: {buffer.tell()} bytes, at most {MAX_BYTES}; show less of the page")


def main(*, out: Annotated[Path, Parameter(help="the folder to write them to")] = PICTURES) -> None:
    """Make the README's pictures from the finished run in this folder."""
    binary = find_chromium()
    if binary is None:
        raise SystemExit("no Chromium is installed: install it, such as Debian's chromium")
    for needed in ("data/dataset/index.parquet", "models/segmenter", "report/index.html"):
        if not (ROOT / needed).exists():
            raise SystemExit(f"{needed} is missing: run `make demo` first")
    chosen = choose(read_samples(ROOT))
    images = [decode(_read(ROOT, row["image"])) for row in chosen]
    answers = Segmenter(ROOT / "models/segmenter", "cpu").label(images)
    with tempfile.TemporaryDirectory() as folder, Browser(binary, WIDTH, HEIGHT) as browser:
        page = Path(folder) / "overview.html"
        page.write_text(overview(chosen, answers, ROOT), encoding="utf-8")
        browser.open(page.as_uri())
        browser.wait(PICTURED)
        browser.resize(WIDTH, int(browser.evaluate("document.body.offsetHeight")))
        shoot(browser, out / "overview.jpg")
    with Browser(binary, WIDTH, HEIGHT) as browser:
        report = (ROOT / "report").as_uri()
        browser.open(f"{report}/index.html")
        browser.wait(PICTURED)
        shoot(browser, out / "report.jpg")
        browser.open(f"{report}/gallery.html")
        browser.wait("document.querySelector('#loading')?.hidden")
        browser.wait(PICTURED)
        shoot(browser, out / "gallery.jpg")
        browser.open(f"{report}/gallery.html#sample={_sample_id(chosen[0])}")
        browser.wait("document.querySelector('#sample .stage img')?.complete")
        shoot(browser, out / "sample.jpg")
        if browser.errors:
            raise SystemExit(f"the report has errors: {browser.errors}")


if __name__ == "__main__":
    cyclopts.run(main)
