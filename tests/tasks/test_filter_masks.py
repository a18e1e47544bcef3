"""Verdicts and the dataset: from scores and manifests alone."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tasks import records
from tasks.filter_masks import (
    decide,
    run,
    show_preview,
    split_of,
    summarise,
    with_reasons,
)
from tasks.params import FilterMasks, InputError, Params
from tasks.records import join
from tasks.shards import Member

Make = Callable[..., Params]
Row = dict[str, Any]
COUNT = 40


@pytest.fixture
def section(make_params: Make) -> FilterMasks:
    return make_params({"filter_masks.val_share": 0.25}).filter_masks


def scored(name: str = "car", **changes: Any) -> Row:
    return {"name": name, "area": 0.5, "peak": 0.5, "margin": 0.5} | changes


def tables(count: int, areas: dict[int, float]) -> dict[str, pa.Table]:
    """Manifests of some samples; those in ``areas`` have another area than 0.5."""
    ids = [f"s{i}" for i in range(count)]
    samples = [
        {
            "sample_id": name, "prompt_id": f"p{i}", "shard": "a b/é.tar",
            "image_offset": 512 * i, "image_size": 9, "attention_offset": 1024, "attention_size": 7,
        }
        for i, name in enumerate(ids)
    ]  # fmt: skip
    masks = [
        {
            "sample_id": name, "shard": "b.tar", "label_offset": 512, "label_size": 5,
            "reliability_offset": 1536, "reliability_size": 6,
            "uncertainty_offset": 2048 if i else None, "uncertainty_size": 7 if i else None,
        }
        for i, name in enumerate(ids)
    ]  # fmt: skip
    scores = [
        {"sample_id": name, "finite": True, "duplicate_of": "", "dark": 0.0, "contrast": 50.0}
        | {"classes": [scored(area=areas.get(i, 0.5))]}
        for i, name in enumerate(ids)
    ]
    prompts = [{"prompt_id": f"p{i}", "text": f"a car {i}"} for i in range(count)]
    return {
        "samples": pa.Table.from_pylist(samples, schema=records.SAMPLES),
        "masks": pa.Table.from_pylist(masks[::-1], schema=records.MASKS),
        "prompts": pa.Table.from_pylist(prompts, schema=records.PROMPTS),
        "scores": pa.Table.from_pylist(scores[::-1], schema=records.SCORES),
    }


def rows_of(section: FilterMasks, **manifests: pa.Table) -> list[Row]:
    verdicts, table = decide(**manifests, section=section)
    return [row for part in with_reasons(verdicts, table) for row in part.to_pylist()]


def test_split_depends_on_the_text_alone_and_holds_its_share(section: FilterMasks) -> None:
    sides = [split_of(f"prompt {i}", section) for i in range(2000)]
    assert sides == [split_of(f"prompt {i}", section) for i in range(2000)]
    assert 0.21 < sides.count("val") / 2000 < 0.29


def test_rejected_samples_keep_their_rows(section: FilterMasks) -> None:
    rows = rows_of(section, **tables(3, {1: 0.0}))
    assert [row["sample_id"] for row in rows] == ["s0", "s1", "s2"]
    assert [row["kept"] for row in rows] == [True, False, True]
    assert rows[1]["rule"] == "min_area"
    assert rows[1]["reason"] == "car: area 0.000 below min_area 0.04"
    assert (rows[1]["value"], rows[1]["bound"]) == (0.0, 0.04)
    assert rows[1]["split"] == ""
    assert rows[1]["classes"][0]["area"] == 0.0
    assert [(row["rule"], row["reason"], row["value"], row["bound"]) for row in rows[::2]] == [
        ("", "", None, None)
    ] * 2
    assert [row["split"] for row in rows[::2]] == [split_of(f"a car {i}", section) for i in (0, 2)]


def test_addresses_are_those_of_the_shards(section: FilterMasks) -> None:
    rows = rows_of(section, **tables(3, {}))
    assert rows[2]["image"] == Member("a b/é.tar", 1024, 9).uri
    assert rows[0]["attention"] == Member("a b/é.tar", 1024, 7).uri
    assert rows[0]["label"] == "shard://b.tar?offset=512&size=5"
    assert rows[0]["reliability"] == "shard://b.tar?offset=1536&size=6"
    uncertainty = "shard://b.tar?offset=2048&size=7"
    assert [row["uncertainty"] for row in rows] == [None, uncertainty, uncertainty]


def test_the_funnel_counts_kept_rejected_and_what_is_too_few(section: FilterMasks) -> None:
    _, table = decide(**tables(COUNT, {1: 0.0, 2: 0.9, 3: 0.0}), section=section)
    summary = summarise(table, ["car", "dog"], 20)
    assert (summary["samples"], summary["kept"], summary["rejected"]) == (COUNT, COUNT - 3, 3)
    assert summary["reasons"] == {"max_area": 1, "min_area": 2}
    assert summary["kept_per_class"] == {"car": COUNT - 3, "dog": 0}
    assert summary["too_few"] == {"dog": 0}
    assert summary["train"] + summary["val"] == COUNT - 3
    assert summary["train"] > summary["val"] > 0


def test_a_manifest_of_another_run_is_named() -> None:
    table = pa.table({"sample_id": ["a", "b"]})
    assert join(table, "sample_id", pa.chunked_array([["b", "a"]]), "data/scores").to_pydict() == {
        "sample_id": ["b", "a"]
    }
    with pytest.raises(InputError, match=r"data/scores has no row for sample_id c and 1 others"):
        join(table, "sample_id", pa.chunked_array([["a", "c", "d"]]), "data/scores")


def write(root: Path, manifests: dict[str, pa.Table]) -> None:
    for name, table in manifests.items():
        path = root / (
            "data/prompts.parquet" if name == "prompts" else f"data/{name}/index.parquet"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table, path)


def test_the_stage_reads_manifests_alone_and_warns_of_few(
    tmp_path: Path, make_params: Make, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, tables(COUNT, {0: 0.0}))
    changes = {"expand_prompts.classes": ["car", "dog"], "filter_masks.min_per_class": 39}
    with caplog.at_level(logging.WARNING):
        run(make_params(changes), tmp_path)
    assert "min_per_class 39" in caplog.text
    assert "dog (0)" in caplog.text
    assert "car" not in caplog.text
    table = parquet.read_table(tmp_path / "data/dataset/index.parquet")
    assert table.schema.names == records.DATASET.names
    assert table.num_rows == COUNT
    assert records.read_json(tmp_path / "metrics/filter.json")["reasons"] == {"min_area": 1}
    names = records.read_json(tmp_path / "data/dataset/classes.json")
    assert names == ["background", "car", "dog"]


def test_a_bound_that_suits_other_masks_is_told(
    tmp_path: Path, make_params: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A rule that rejects most samples, and a way to see what another bound would do."""
    write(tmp_path, tables(COUNT, dict.fromkeys(range(COUNT // 2 + 1), 0.2)))
    quiet = {"filter_masks.min_per_class": 0}
    with caplog.at_level(logging.WARNING):
        run(make_params(quiet), tmp_path)
        run(make_params(quiet | {"filter_masks.min_area": {"quantile": 0.9}}), tmp_path)
        assert not caplog.messages
        run(make_params(quiet | {"filter_masks.min_area": 0.21}), tmp_path)
    assert caplog.messages == [
        f"min_area rejects {COUNT // 2 + 1} of {COUNT} samples: its bound 0.21 may be one for "
        "other masks; see what a share of each class would do, python -m tasks.filter_masks "
        "--preview 'min_area={quantile: 0.05}'"
    ]


def test_a_balance_that_rejects_most_is_what_was_asked_for(
    tmp_path: Path, make_params: Make, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, tables(COUNT, {}))
    with caplog.at_level(logging.WARNING):
        run(
            make_params({"filter_masks.min_per_class": 0, "filter_masks.max_per_class": 2}),
            tmp_path,
        )
    assert (
        records.read_json(tmp_path / "metrics/filter.json")["reasons"]["max_per_class"] > COUNT / 2
    )
    assert not caplog.messages


def test_the_same_scores_give_the_same_bytes(tmp_path: Path, make_params: Make) -> None:
    write(tmp_path, tables(COUNT, {0: 0.0}))
    index = tmp_path / "data/dataset/index.parquet"
    run(make_params(), tmp_path)
    before = index.read_bytes()
    run(make_params(), tmp_path)
    assert index.read_bytes() == before


def test_nothing_left_is_an_error_that_says_why(tmp_path: Path, make_params: Make) -> None:
    write(tmp_path, tables(3, dict.fromkeys(range(3), 0.0)))
    with pytest.raises(InputError, match=r"none of 3 samples is left.*\{'min_area': 3\}; loosen"):
        run(make_params(), tmp_path)


def test_reasons_are_told_in_parts(section: FilterMasks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows beyond the first part have their own reasons."""
    monkeypatch.setattr(records, "ROW_GROUP", 2)
    rows = rows_of(section, **tables(5, {4: 0.01, 1: 0.9}))
    assert [row["reason"] for row in rows] == [
        "", "car: area 0.900 above max_area 0.8", "", "", "car: area 0.010 below min_area 0.04",
    ]  # fmt: skip


def test_the_stage_says_what_it_decided(
    tmp_path: Path, make_params: Make, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, tables(COUNT, {0: 0.0, 1: 0.9}))
    with caplog.at_level(logging.INFO):
        run(make_params({"filter_masks.min_per_class": 0}), tmp_path)
    summary = records.read_json(tmp_path / "metrics/filter.json")
    assert caplog.messages == [
        f"{COUNT - 2} of {COUNT} samples kept, {summary['train']} to train on and "
        f"{summary['val']} held out; rejected by: max_area 1, min_area 1"
    ]


def test_a_preview_compares_with_what_was_decided_and_writes_nothing(
    tmp_path: Path, make_params: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, tables(COUNT, {0: 0.0, 1: 0.2, 2: 0.2}))
    params = make_params({"expand_prompts.classes": ["car", "dog"]})
    run(params, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    show_preview(params, ("min_area=0.3", "max_border={quantile: 0.9}"), tmp_path)
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    assert ["car", f"{COUNT - 1}", f"{COUNT - 3}", "-2"] in lines
    assert ["dog", "0", "0"] in lines
    assert ["min_area", "1", "3", "+2"] in lines
    assert "Nothing was written" in said and "dvc repro filter_masks" in said
    show_preview(make_params({"filter_masks.min_area": 0.3}), (), tmp_path)
    edited = capsys.readouterr().out
    assert ["min_area", "1", "3", "+2"] in [line.split() for line in edited.splitlines()]
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_a_preview_needs_something_to_compare_with(tmp_path: Path, make_params: Make) -> None:
    write(tmp_path, tables(3, {}))
    with pytest.raises(InputError, match="is not there to compare with; run `dvc repro filter"):
        show_preview(make_params(), (), tmp_path)
