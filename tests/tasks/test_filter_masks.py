from pathlib import Path

import pytest

from tasks.filter_masks import decide, judge, split_of, summarise
from tasks.params import FilterMasks

SECTION = FilterMasks(
    min_area=0.1,
    max_area=0.8,
    min_peak=0.2,
    min_margin=0.3,
    absent="reject",
    val_share=0.25,
    seed=0,
)


def scores(name: str = "car", area: float = 0.5, peak: float = 0.5, margin: float = 0.5) -> dict:
    return {"name": name, "area": area, "peak": peak, "margin": margin}


@pytest.mark.parametrize(
    ("changes", "rule", "reason"),
    [
        ({}, "", ""),
        ({"area": 0.1, "peak": 0.2, "margin": 0.3}, "", ""),
        ({"area": 0.05}, "min_area", "car: area 0.050 below min_area 0.1"),
        ({"area": 0.9}, "max_area", "car: area 0.900 above max_area 0.8"),
        ({"peak": 0.1}, "min_peak", "car: peak 0.100 below min_peak 0.2"),
        ({"margin": 0.25}, "min_margin", "car: margin 0.250 below min_margin 0.3"),
    ],
)
def test_verdict_names_the_rule_and_the_number(changes: dict, rule: str, reason: str) -> None:
    assert judge([scores(**changes)], SECTION) == (rule, reason)


def test_every_prompted_class_must_pass() -> None:
    assert judge([scores(), scores("dog", area=0.0)], SECTION)[1].startswith("dog: area 0.000")


def test_an_absent_class_may_be_allowed_but_not_all_of_them() -> None:
    section = SECTION.model_copy(update={"absent": "allow"})
    absent = scores("dog", area=0.09, peak=0.0, margin=0.0)
    assert judge([absent, scores()], section) == ("", "")
    assert judge([absent, scores(margin=0.25)], section)[1].startswith("car: margin 0.250")
    assert judge([scores(area=0.1), scores("dog", area=0.9)], section)[0] == "max_area"
    assert judge([absent, scores(area=0.0)], section) == (
        "min_area",
        "dog: area 0.090 below min_area 0.1",
    )


def test_split_depends_on_the_text_alone_and_holds_its_share() -> None:
    sides = [split_of(f"prompt {i}", SECTION) for i in range(2000)]
    assert sides == [split_of(f"prompt {i}", SECTION) for i in range(2000)]
    assert 0.21 < sides.count("val") / 2000 < 0.29


def test_rejected_samples_keep_their_rows(tmp_path: Path) -> None:
    samples = [
        {
            "sample_id": f"s{i}", "prompt_id": f"p{i}", "shard": "a.tar",
            "image_offset": 512, "image_size": 9, "attention_offset": 1024, "attention_size": 7,
        }
        for i in range(3)
    ]  # fmt: skip
    masks = [
        {
            "sample_id": f"s{i}", "shard": "b.tar", "label_offset": 512, "label_size": 5,
            "reliability_offset": 1536, "reliability_size": 6,
            "uncertainty_offset": 2048 if i else None, "uncertainty_size": 7 if i else None,
            "classes": [scores(area=0.0 if i == 1 else 0.5)],
        }
        for i in range(3)
    ]  # fmt: skip
    prompts = [{"prompt_id": f"p{i}", "text": f"a car {i}"} for i in range(3)]
    rows = decide(samples, masks, prompts, SECTION)
    assert [row["kept"] for row in rows] == [True, False, True]
    assert rows[1]["reason"] == "car: area 0.000 below min_area 0.1"
    assert rows[1]["split"] == ""
    assert rows[0]["image"] == "shard://a.tar?offset=512&size=9"
    assert rows[0]["reliability"] == "shard://b.tar?offset=1536&size=6"
    uncertainty = "shard://b.tar?offset=2048&size=7"
    assert [row["uncertainty"] for row in rows] == [None, uncertainty, uncertainty]
    summary = summarise(rows, ["car", "dog"])
    assert summary["samples"] == 3
    assert summary["reasons"] == {"min_area": 1}
    assert summary["kept_per_class"] == {"car": 2, "dog": 0}
    assert summary["train"] + summary["val"] == summary["kept"] == 2
