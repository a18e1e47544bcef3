"""The results in README.md are those of the records."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.readme import BEGIN, END, compared, headline, read_results, with_results
from flows.grids import Grid, Setting

ROOT = Path(__file__).parents[2]
EVALUATION = {
    "images": 300,
    "miou": 0.5,
    "reference_miou": 0.8,
    "ratio": 0.625,
    "per_class": {"background": 0.75, "car": 0.25},
    "reference_per_class": {"background": 0.9, "car": 0.7},
}
QUALITY = {"prompts": 200, "prompted_class_largest": 0.98, "threshold": 0.4, "map_iou": 0.7064}


def result(rows: list[dict[str, Any]], *bars: tuple[str, float, float, bool]) -> dict[str, Any]:
    keys = ("name", "value", "bound", "holds")
    ran = {"command": "python -m benchmarks.demo", "date": "2026-01-02"}
    return {"ran": ran, "rows": rows, "bars": [dict(zip(keys, bar, strict=True)) for bar in bars]}


def grid(names: list[str], **common: dict[str, Any]) -> Grid:
    return Grid(
        title="a grid",
        seeds=[0, 1, 2],
        common=Setting(**common),
        settings={name: Setting() for name in names},
    )


def test_tells_demo_story_and_what_is_missed() -> None:
    rungs = [
        {"setting": "class names", "mean": 0.61, "deviation": 0.0123, "gain": ""},
        {"setting": "real labels", "mean": 0.9, "deviation": 0.0}
        | {"gain": 0.29, "its deviation": 0.0121},
    ]
    names = [row["setting"] for row in rungs]
    results = {
        "demo": result(
            [], ("make demo, minutes", 8.64, 12, True), ("peak memory, GiB", 1, 6, True)
        ),
        "pretraining": result(
            [
                {"images of a class": 12, "start": start, "mIoU, mean": mean}
                | {"standard deviation": 0.03}
                for start, mean in (("from scratch", 0.46), ("pretrained", 0.55))
            ]
        ),
        "compare_ladder": result(rungs, ("share of real labels", 0.68, 0.9, False)),
        "gap": result(
            [
                {"things": name, "share": share}
                for name, share in (
                    ("of 1 on a page", 0.9),
                    ("owl (bird)", 0.95),
                    ("duck (bird)", 0.6),
                )
            ]
        ),
    }
    told = headline(EVALUATION, QUALITY, results, {"ladder": grid(names), "street": grid(["a"])})
    assert "| trained on | background | car | **mIoU** |" in told
    assert "| synthetic images only | 0.750 | 0.250 | 0.500 |" in told
    assert "| real labels: the reference | 0.900 | 0.700 | 0.800 |" in told
    assert "9 minutes, once installed, and 1.0 GiB (`python -m benchmarks.demo`, 2026-" in told
    assert "for 200 prompts, 98% show" in told and "mean IoU of 0.71" in told
    assert (
        "0.90 for one of 1 on a page; by kind from 0.95, owl (bird), to 0.60, duck (bird) (`"
        in told
    )
    assert (
        "* ladder: class names 0.610 ± 0.012; real labels 0.900 ± 0.000 (+0.290 ± 0.012)\n" in told
    )
    assert "over 3 seeds of" in told and "with those of its own grid.\n" in told
    assert (
        "* pretraining on 24 kinds (`python -m benchmarks.demo`): with 12 images of a class from "
        "scratch 0.460 ± 0.030; pretrained 0.550 ± 0.030\n" in told
    )
    assert "not measured yet: street." in told
    assert "2 of 3 bars in [benchmarks/README.md](benchmarks/README.md) hold.\n" in told
    assert told.endswith("| `compare_ladder`: share of real labels | 0.68 | 0.9 |\n")
    more = [{"setting": f"rung {n}", "mean": n / 10, "deviation": 0.0} for n in range(5)]
    results["compare_ladder"] = result(rungs + more)
    told = headline(
        EVALUATION, QUALITY, results, {"ladder": grid([row["setting"] for row in rungs + more])}
    )
    assert "| ladder | mIoU |\n| --- | --- |\n| class names | 0.610 ± 0.012 |\n" in told
    steps = [{"setting": step, "mean": 0.7, "deviation": 0.01} for step in ("1", "9.5")]
    results["compare_axis"] = result(steps)
    shorter = grid(["1", "9.5"], train_segmenter={"iterations": 750})
    told = headline(EVALUATION, QUALITY, results, {"axis": shorter, "ladder": grid(["a"])})
    assert "its own grid: there are fewer iterations than the preset in axis.\n" in told
    assert "| axis | 1 | 9.5 |\n| --- | --- | --- |\n| mIoU | 0.700 ± 0.010 | 0.700 " in told
    told = headline(EVALUATION, QUALITY, results, {"ladder": grid([*names, "another"])})
    assert "not measured in their present form yet: ladder." in told and "0.610 ±" not in told
    del results["compare_ladder"]
    assert headline(EVALUATION, QUALITY, results, {}).endswith(") hold.\n")


def test_only_what_lies_between_the_marks_is_replaced() -> None:
    assert with_results(f"a\n{BEGIN}old\n{END}b\n", "new\n") == f"a\n{BEGIN}new\n{END}b\n"
    with pytest.raises(ValueError, match="no place for the results"):
        with_results(f"a\n{BEGIN}b\n", "new\n")


def test_the_readme_shows_the_records() -> None:
    """Those of the folder or, where another run has replaced the demo's metrics, of the commit."""
    path = "metrics/evaluation.json"
    shown = subprocess.run(
        ["git", "show", f"HEAD:{path}"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    quality = json.loads((ROOT / "models/storybook-sd/quality.json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert any(
        readme
        == with_results(readme, headline(json.loads(text), quality, read_results(), compared(ROOT)))
        for text in (shown, (ROOT / path).read_bytes())
    ), "run `python -m benchmarks.readme`"
