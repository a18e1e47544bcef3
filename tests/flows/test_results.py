import io
import json
from pathlib import Path

from rich.console import Console

from flows.results import (
    StageRun,
    adaptation_sentence,
    funnel_rows,
    result_rows,
    result_view,
    stages_markdown,
)
from tests.toys.runs import NOT_MEASURED

EVALUATION = {
    "miou": 0.61,
    "reference_miou": 0.8,
    "ratio": 0.7625,
    "per_class": {"background": 0.9, "car": 0.32},
    "reference_per_class": {"background": 0.95, "car": 0.65},
    "images": 12,
    "test_set": "data/storybook/test",
    "not_measured": [],
}
UNMEASURED = NOT_MEASURED | {"not_measured": ["no test set"]}


def test_rows_are_the_classes_the_means_and_their_ratio() -> None:
    assert [tuple(row.values()) for row in result_rows(EVALUATION)] == [
        ("background", "0.900", "0.950"),
        ("car", "0.320", "0.650"),
        ("mIoU", "0.610", "0.800"),
        ("ratio", "0.762", "-"),
    ]


def test_what_was_not_measured_is_a_dash() -> None:
    assert [tuple(row.values()) for row in result_rows(UNMEASURED)] == [
        ("mIoU", "-", "-"),
        ("ratio", "-", "-"),
    ]


def test_the_view_names_the_test_set_and_the_gaps() -> None:
    def text(evaluation: dict[str, object], adaptation: str | None = None) -> str:
        out = io.StringIO()
        Console(file=out, width=80).print(result_view(evaluation, adaptation))
        return out.getvalue()

    assert "12 labelled images of data/storybook/test" in text(EVALUATION)
    assert "0.762" in text(EVALUATION)
    assert "no test set" in text(UNMEASURED)
    assert text(UNMEASURED, "Adapted.").splitlines()[-2:] == ["no test set", "Adapted."]


def test_an_adaptation_is_a_sentence(tmp_path: Path) -> None:
    assert adaptation_sentence(tmp_path) is None
    path = tmp_path / "metrics/adaptation.json"
    path.parent.mkdir()
    keys = ("held_out_loss_before", "held_out_loss_after", "fall", "steps", "images")
    path.write_text(json.dumps(dict.fromkeys(keys)))
    assert adaptation_sentence(tmp_path) is None
    path.write_text(json.dumps(dict(zip(keys, (0.4, 0.1, 0.75, 1000, 72), strict=True))))
    assert adaptation_sentence(tmp_path) == (
        "Adapted to 72 images in 1,000 steps: held-out denoising loss 0.4000 before, 0.1000 after, "
        "75.0 % less"
    )


def test_stages_as_markdown() -> None:
    runs = [StageRun("preflight", "ran", 1.04), StageRun("expand_prompts", "unchanged", 2.0)]
    assert stages_markdown(runs).splitlines()[2:] == [
        "| preflight | ran | 1.0 |",
        "| expand_prompts | unchanged | 2.0 |",
        "| all | | 3.0 |",
    ]


def test_the_funnel_counts_what_each_rule_took(tmp_path: Path) -> None:
    found = {"samples": 1200, "kept": 1180, "train": 1114, "val": 66}
    (tmp_path / "metrics").mkdir()
    reasons = {"reasons": {"max_area": 5, "min_area": 15}}
    (tmp_path / "metrics/filter.json").write_text(json.dumps(found | reasons))
    assert [tuple(row.values()) for row in funnel_rows(tmp_path)] == [
        ("images sampled", "1,200"),
        ("rejected by max_area", "-5"),
        ("rejected by min_area", "-15"),
        ("masks kept", "1,180"),
        ("held out to watch the training", "-66"),
        ("used for training", "1,114"),
    ]
