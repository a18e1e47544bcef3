"""The report of 100,000 samples: how long it takes to write, its size, and how it feels to use.

The tables are made up, each row's prompt a text of its own; their shards hold a few drawn images of
512x512 pixels that all rows point to. The stage runs as a process of its own, the gallery in a
headless Chromium, from disk.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import pyarrow as pa
import yaml
from cyclopts import Parameter
from PIL import Image, ImageFilter
from pyarrow import parquet

from benchmarks.browser import Browser, find_chromium
from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from tasks import records
from tasks.captures import Captured
from tasks.label_maps import encode_grey, encode_image, encode_label
from tasks.params import RELATIONS
from tasks.shards import write_shard

ROOT = Path(__file__).parents[1]
SAMPLES, FEWER = 100_000, 10_000
QUICK_SAMPLES, QUICK_FEWER = 300, 100
DRAWN = 48
"""Different images."""
SIDE = 512
PROBES = 9
CLASSES = ("car", "boat", "tree", "house", "bird", "fish", "dog", "flower")
REJECTED = {
    "rule": "min_area",
    "reason": "area 0.020 below min_area 0.04",
    "split": "",
}
WORDS = ("red", "old", "small", "wooden", "bright", "far", "quiet", "striped", "round", "wet")


def draw(folder: Path) -> list[dict[str, str]]:
    """A shard of drawn images with attention, labels and reliability.

    Returns:
        The addresses of each, first with the attention of one phrase, then with that of two.
    """
    rng = np.random.default_rng(0)
    files = []
    for number in range(DRAWN):
        noise = rng.integers(0, 256, (SIDE // 8, SIDE // 8, 3)).astype(np.uint8)
        image = Image.fromarray(noise).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        image = image.filter(ImageFilter.GaussianBlur(6))
        label = np.where(np.asarray(image)[..., 0] > 140, 1 + number % len(CLASSES), 0)
        maps = rng.random((2, 64, 64)).astype(np.float16)
        for phrases in (1, 2):
            cross = {("middle", (side, side)): maps[:phrases, :side, :side] for side in (16, 8)}
            files += [
                ("x.png", encode_image(np.asarray(image))),
                ("x.attention.safetensors", Captured(cross).encode()),
                ("x.label.png", encode_label(label.astype(np.uint8))),
                ("x.reliability.png", encode_grey(np.asarray(image)[..., 1])),
            ]
    written = write_shard(folder / "data/samples/shards/0000.tar", files)
    uris = [member.uri.replace(f"{folder}/".replace("//", "/"), "", 1) for member in written]
    keys = ("image", "attention", "label", "reliability")
    return [dict(zip(keys, uris[at : at + 4], strict=True)) for at in range(0, len(uris), 4)]


def write_tables(folder: Path, count: int, drawn: list[dict[str, str]]) -> None:
    """The manifests of ``count`` samples, an eighth of them rejected."""
    rng = np.random.default_rng(1)
    picked = rng.integers(0, len(CLASSES), (count, 2))
    relations = rng.integers(0, 3, (count, 2))
    adjectives = rng.integers(0, len(WORDS), (count, 3))
    scores = rng.random((count, 2, 3)).astype(np.float32)
    prompts: list[dict[str, Any]] = []
    dataset: list[dict[str, Any]] = []
    for row in range(count):
        names = [CLASSES[code] for code in dict.fromkeys(picked[row])][: 1 + row % 2]
        head = " ".join(WORDS[code] for code in adjectives[row])
        text = f"a {head} {' and a '.join(names)}, picture {row}"
        ids = {"sample_id": records.content_id("s", row), "prompt_id": records.content_id("p", row)}
        kept = bool(row % 8)
        words, judged = [], []
        for at, name in enumerate(names):
            start = text.index(name)
            relation = RELATIONS[relations[row, at]]
            words.append(
                {"name": name, "phrase": name, "start": start, "end": start + len(name)}
                | {"relation": relation, "depth": int(relations[row, at]), "synset": "n02958343"}
            )
            area, peak, margin = map(float, scores[row, at])
            judged.append({"name": name, "area": area, "peak": peak, "margin": margin})
        prompts.append(
            {"prompt_id": ids["prompt_id"], "seed": row << 40, "text": text, "classes": words}
            | {"negative_prompt": "", "source": "templates", "template": "a {}", "caption_id": ""}
        )
        verdict = {"rule": "", "reason": "", "split": "train"} if kept else REJECTED
        scored = {"text": text, "classes": judged, "kept": kept}
        shown = drawn[2 * (row % DRAWN) + len(names) - 1]
        dataset.append({**ids, **scored, **verdict, **shown})
    _write(folder / "data/prompts.parquet", prompts, records.PROMPTS)
    _write(folder / "data/dataset/index.parquet", dataset, records.DATASET)
    parts = ("image", "attention", "label", "reliability")
    sums: dict[str, Any] = {f"{part}_crc32": 2**32 - 1 for part in parts}
    sums["shard_digest"] = "0" * 64
    samples = [{"sample_id": row["sample_id"], "seed": 0, **sums} for row in dataset]
    _write(folder / "data/samples/index.parquet", samples, records.SAMPLES)
    _write(folder / "data/masks/index.parquet", samples, records.MASKS)


def write_rest(folder: Path, count: int) -> None:
    """Parameters and metrics, as far as the report reads them."""
    params = yaml.safe_load((ROOT / "presets/storybook.yaml").read_text(encoding="utf-8"))
    params["expand_prompts"]["classes"] = list(CLASSES)
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    records.write_json(folder / "data/inputs/model.json", {"digest": "0" * 64})
    records.write_json(folder / "models/lora/adapter.json", {"source": "none", "digest": None})
    kept = count - -(-count // 8)
    counts: dict[str, Any] = dict.fromkeys(
        ("prompts", "distinct_texts", "distinct_words", "repeats", "withdrawn"), count
    )
    reasons = {"min_area": count - kept}
    metrics: dict[str, Any] = {
        "prompts": counts | {"relations": {}, "depths": {}, "per_class": {}},
        "filter": {"samples": count, "kept": kept, "rejected": count - kept, "reasons": reasons}
        | {"train": kept, "val": 0},
        "training": {"iterations": 1, "images": kept, "curve": [], "val": []},
        "reference_training": {"trained": False, "why": "this is a benchmark"},
        "evaluation": {"miou": None, "reference_miou": None, "ratio": None, "per_class": {}}
        | {"reference_per_class": {}, "images": 0, "test_set": "none", "not_measured": []},
    }
    for name, value in metrics.items():
        records.write_json(folder / f"metrics/{name}.json", value)


RUN_AND_TELL_PEAK = """
import runpy, sys
from pathlib import Path
try:
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
finally:
    print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""
"""Prints the peak in KiB; what `wait4` tells counts the parent's memory at the fork as well."""


def build(folder: Path) -> tuple[float, float]:
    """Run the stage there: processor seconds, and the peak of its resident set in GiB.

    Raises:
        SystemExit: it failed, and has said why.
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    before = _seconds_of_children()
    command = [sys.executable, "-c", RUN_AND_TELL_PEAK, "tasks.write_report"]
    done = subprocess.run(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.returncode)
    return _seconds_of_children() - before, int(done.stdout.split()[-1]) / 2**20


def _seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def use(page: Path) -> dict[str, float]:
    """Open the gallery, filter, search and order it.

    Returns:
        Seconds until its pictures are seen and until all rows are there, then milliseconds of a
        filter, a search and an order, from the input to the page that is drawn.

    Raises:
        SystemExit: no Chromium is installed.
    """
    binary = find_chromium()
    if binary is None:
        raise SystemExit("benchmarks.report needs Chromium: install it, such as Debian's chromium")
    with Browser(binary) as browser:
        started = time.monotonic()
        browser.open(page.as_uri())
        browser.wait("[...document.querySelectorAll('.shot img')].some((image) => image.complete)")
        seen = time.monotonic() - started
        browser.wait("document.querySelector('#loading').hidden", 120)
        whole = time.monotonic() - started
        found = {"first picture, s": seen, "whole table, s": whole}
        for what, code in ACTIONS.items():
            took = [float(browser.evaluate(_timed(code))) for _ in range(PROBES)]
            found[f"{what}, ms"] = statistics.median(took)
        heap = browser.evaluate("performance.memory.usedJSHeapSize")
        found["JavaScript heap, MB"] = heap / 1e6
        if browser.errors:
            raise SystemExit(f"the page has errors: {browser.errors}")
    return found


ACTIONS = {
    "filter by class": "document.querySelector('.ticks input').click()",
    "search": """(() => {
        const box = document.querySelector('#text');
        box.value = box.value ? '' : 'striped dog';
        box.dispatchEvent(new Event('input'));
    })()""",
    "sort by score": """(() => {
        const box = document.querySelector('#sort');
        box.value = box.value === 'area' ? '-margin' : 'area';
        box.dispatchEvent(new Event('change'));
    })()""",
}


def main(
    *, quick: Annotated[bool, Parameter(help="some hundred samples; writes no result")] = False
) -> None:
    """Write and use the report of 100,000 samples, and of a tenth, to see what grows."""
    counts = (QUICK_FEWER, QUICK_SAMPLES) if quick else (FEWER, SAMPLES)
    rows: list[Row] = []
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="maskloom-report-") as temporary:
            folder = Path(temporary)
            write_tables(folder, count, draw(folder))
            write_rest(folder, count)
            seconds, peak = build(folder)
            files = [path for path in (folder / "report").rglob("*") if path.is_file()]
            used = use(folder / "report/gallery.html")
            size = sum(path.stat().st_size for path in files) / 1e6
        measured = {"build, CPU s": seconds, "peak GiB": peak, "report MB": size} | used
        row: Row = {"samples": count, "files": len(files)}
        rows.append(row | {key: round(value, 2) for key, value in measured.items()})
    last = rows[-1]
    bars = [
        Bar.at_most("processor seconds to build", float(last["build, CPU s"]), 120),
        Bar.at_most("peak memory, GiB", float(last["peak GiB"]), 1),
        Bar.at_most("seconds to the first picture", float(last["first picture, s"]), 2),
        Bar.at_most("seconds to the whole table", float(last["whole table, s"]), 5),
        Bar.at_most(
            "milliseconds of the slowest action",
            max(float(last[f"{what}, ms"]) for what in ACTIONS),
            250,
        ),
    ]
    ran = what_ran(image=f"{SIDE}x{SIDE}", rounds=PROBES, classes=len(CLASSES))
    finish("report", ran, rows, bars, None if quick else RESULTS)


def _timed(code: str) -> str:
    """Milliseconds from before an action until its page is laid out."""
    return f"""(() => {{
        const before = performance.now();
        {code};
        document.body.getBoundingClientRect();
        return performance.now() - before;
    }})()"""


def _write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")


if __name__ == "__main__":
    cyclopts.run(main)
