"""The measurement of filtering: what is spoiled, how bounds are chosen, and the whole in small."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmarks import filtering
from benchmarks.filtering import find_spoiled, only
from benchmarks.made_scores import write_manifests
from benchmarks.rule_choice import Found, as_threshold, best_bound, choose_together, compare, worst
from benchmarks.spoiled_masks import KINDS, other_classes, shift, spoil, write_spoiled
from storybook.vocabulary import PAGE_CLASSES
from tasks import records
from tasks.label_maps import decode, encode_grey, encode_image, encode_label
from tasks.params import load_params
from tasks.render_storybook import render_page
from tasks.shards import Member, write_shard
from tasks.verdicts import judge

ROOT = Path(__file__).parents[2]
NAMES = [each.name for each in PAGE_CLASSES]
COUNT = 20
Row = dict[str, Any]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose samples are rendered pages with their exact labels."""
    root = tmp_path_factory.mktemp("pages")
    samples, masks, prompts = [], [], []
    images, maps = [], []
    for number in range(COUNT):
        image, label, text = render_page(np.random.default_rng(number))
        images.append((f"s{number}.png", encode_image(image)))
        maps.append((f"s{number}.label.png", encode_label(label)))
        maps.append((f"s{number}.reliability.png", encode_grey(np.full_like(label, 128))))
        ids = {"sample_id": f"s{number}", "prompt_id": f"p{number}"}
        prompts.append({"prompt_id": f"p{number}", "text": f"{text}, {number}"})
        samples.append(ids | {"shard": "data/samples/shards/a.tar"})
        shown = [value for value in np.unique(label) if 0 < value < 255]
        attention = {"peak": 0.5, "margin": 0.5, "entropy": 0.2, "agreement": 0.9}
        classes = [
            {"name": NAMES[value - 1], "area": float((label == value).mean())} | attention
            for value in shown
        ]
        mask = {"sample_id": f"s{number}", "shard": "data/masks/shards/a.tar", "entropy": 0.1}
        masks.append(mask | {"classes": classes})
    written = write_shard(root / "data/samples/shards/a.tar", images)
    for row, member in zip(samples, written, strict=True):
        row |= {"image_offset": member.offset, "image_size": member.size}
        row |= {"attention_offset": 0, "attention_size": 0}
    written = write_shard(root / "data/masks/shards/a.tar", maps)
    for row, label, trust in zip(masks, written[::2], written[1::2], strict=True):
        row |= {"label_offset": label.offset, "label_size": label.size}
        row |= {"reliability_offset": trust.offset, "reliability_size": trust.size}
    dataset = [
        {"sample_id": row["sample_id"], "kept": number != 7, "classes": []}
        for number, row in enumerate(samples)
    ]
    records.write_table(root / "data/samples/index.parquet", samples, records.SAMPLES)
    records.write_table(root / "data/masks/index.parquet", masks, records.MASKS)
    records.write_table(root / "data/prompts.parquet", prompts, records.PROMPTS)
    records.write_table(root / "data/dataset/index.parquet", dataset, records.DATASET)
    (root / "models/reference").mkdir(parents=True)
    (root / "models/reference/weights.pth").touch()
    (root / "params.yaml").write_text((ROOT / "presets/storybook.yaml").read_text())
    return root


def test_swapped_classes_are_others_everywhere() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        becomes = other_classes([2, 5], 8, rng)
        assert set(becomes) == {2, 5}
        assert len(set(becomes.values()) - {2, 5}) == 2
        assert set(becomes.values()) <= set(range(1, 9))
    label = np.zeros((4, 4), np.uint8)
    label[0], label[1], label[3] = 2, 5, 255
    spoiled, shown = spoil(label, [NAMES[1], NAMES[4]], "swapped", NAMES, rng)
    assert [NAMES.index(name) + 1 for name in shown] == [spoiled[0, 0], spoiled[1, 0]]
    assert (spoiled[2] == 0).all()
    assert (spoiled[3] == 255).all()
    assert not {2, 5} & set(np.unique(spoiled))


def test_a_shifted_mask_is_the_same_elsewhere() -> None:
    label = np.zeros((40, 80), np.uint8)
    label[18:22, 36:44] = 3
    for seed in range(20):
        moved = shift(label, np.random.default_rng(seed))
        assert (moved == 3).sum() in range(1, 33)
        y, x = np.argwhere(moved == 3).mean(0) - np.argwhere(label == 3).mean(0)
        assert 0.2 * 40 < abs(y) <= 0.5 * 40
        assert 0.2 * 80 < abs(x) <= 0.5 * 80


def test_a_tenth_is_spoiled_and_the_rest_is_as_it_was(pages: Path, tmp_path: Path) -> None:
    samples, masks = (
        records.read_rows(pages / f"data/{name}/index.parquet") for name in ("samples", "masks")
    )
    rows = list(zip(samples, masks, strict=True))
    kinds = write_spoiled(pages, tmp_path, rows, NAMES, 0.3, seed=0)
    assert sorted(kinds.values()) == sorted(2 * KINDS)
    assert write_spoiled(pages, tmp_path, rows, NAMES, 0.3, seed=0) == kinds
    assert records.read_rows(tmp_path / "data/samples/index.parquet") == samples
    for before, after in zip(
        masks, records.read_rows(tmp_path / "data/masks/index.parquet"), strict=True
    ):
        labels = [
            decode(Member(m["shard"], m["label_offset"], m["label_size"]).below(root).read())
            for m, root in ((before, pages), (after, tmp_path))
        ]
        kind = kinds.get(before["sample_id"])
        assert np.array_equal(*labels) == (kind is None)
        areas = [float((labels[1] == 1 + NAMES.index(c["name"])).mean()) for c in after["classes"]]
        assert [each["area"] for each in after["classes"]] == pytest.approx(areas)
        if kind == "emptied":
            assert set(areas) == {0.0}
        if kind is None:
            assert after["classes"] == before["classes"]


def scores(areas: list[list[float]], quality: list[float]) -> pa.Table:
    rows = [
        {"finite": True, "duplicate_of": "", "quality": good}
        | {"classes": [{"name": "car", "area": a, "peak": 1, "margin": 1} for a in of]}
        for of, good in zip(areas, quality, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=records.SCORES)


def test_a_bound_lies_where_it_tells_best() -> None:
    spoiled = np.array([True, True, False, False, False])
    score = np.array([0.1, 0.2, 0.4, 0.5, np.nan])
    bound, found = best_bound(score, spoiled, np.zeros(5, bool))
    assert bound == pytest.approx(0.3)
    assert (found.precision, found.recall, found.worth) == (1.0, 1.0, (1.0, 1.0))
    assert compare(np.array([True, False, True, False, False]), spoiled) == (0.5, 0.5)
    assert compare(np.zeros(5, bool), spoiled).worth == (0, 0)
    assert Found(0.5, 1.0).worth == (0.5, pytest.approx(2 / 3))


def test_the_worst_class_counts_and_rules_are_added_while_they_help() -> None:
    table = scores([[0.3, 0.0], [0.6], [0.9], [0.5], [0.4]], [0.9, 0.1, 0.8, 0.9, 0.7])
    assert worst(table, "min_area") == pytest.approx([0.0, 0.6, 0.9, 0.5, 0.4])
    assert worst(table, "max_area") == pytest.approx([-0.3, -0.6, -0.9, -0.5, -0.4])
    assert as_threshold("max_area", -0.75) == 0.75
    spoiled = np.array([True, True, True, False, False])
    chosen = choose_together(table, spoiled, ("min_area", "max_area", "min_quality"))
    assert chosen == {
        "max_area": pytest.approx(0.55),
        "min_area": pytest.approx(0.2),
    }
    params = load_params(ROOT / "presets/storybook.yaml")
    assert (~judge(table, only(params, chosen)).kept == spoiled).all()


def test_made_scores_are_a_whole_set_of_manifests(tmp_path: Path) -> None:
    write_manifests(tmp_path, 300, ["a", "b"], seed=0)
    table = parquet.read_table(tmp_path / "data/scores/index.parquet")
    assert table.schema.equals(records.SCORES)
    ids = set(table["sample_id"].to_pylist())
    assert len(ids) == 300
    copies = [name for name in table["duplicate_of"].to_pylist() if name]
    assert 5 <= len(copies) <= 30
    assert set(copies) <= ids
    assert table["duplicate_distance"].null_count == 300 - len(copies)


def test_without_a_run_it_says_what_to_do(tmp_path: Path) -> None:
    params = load_params(ROOT / "presets/storybook.yaml")
    with pytest.raises(SystemExit, match=r"data/samples is not there: .*`make demo`"):
        find_spoiled(tmp_path, params, {})


def test_quick_finds_times_and_writes_nothing(
    pages: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[int] = []

    def all_good(root: Path, rows: list[Any], *_: object) -> list[Any]:
        asked.append(len(rows))
        return rows

    monkeypatch.setenv("COLUMNS", "200")  # so that no name of the table is broken
    monkeypatch.setattr(filtering, "good_samples", all_good)
    monkeypatch.setattr(filtering, "WORK", tmp_path / "work")
    monkeypatch.setattr(filtering, "SPOILED", 0.3)
    monkeypatch.setattr(filtering, "RESULTS", tmp_path / "results")
    try:
        filtering.main(run=pages, quick=True)
    except SystemExit as ended:  # a busy machine need not keep the bars
        assert ended.code == 1
    assert asked == [COUNT - 1]  # the rejected one is left out
    printed = capsys.readouterr().out
    assert "19 masks, 6" in printed
    for rule in ("min_area", "min_quality", "all together", "not found"):
        assert rule in printed
    assert not (tmp_path / "results").exists()
