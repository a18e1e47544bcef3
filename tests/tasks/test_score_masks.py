"""Rows of scores: for good samples, damaged ones, copies, and with models to ask."""

import logging
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks import records, score_masks
from tasks.image_text import ImageText
from tasks.in_use import read_in_use, write_in_use
from tasks.label_maps import decode, encode_image
from tasks.params import Params
from tasks.score_masks import Seen, Similarity, find_duplicates, is_finite, run
from tasks.shards import Member, write_shard

Make = Callable[..., Params]
Row = dict[str, Any]


def scores_of(root: Path) -> list[Row]:
    return records.read_rows(root / "data/scores/index.parquet")


def replace_images(root: Path, images: dict[int, bytes]) -> None:
    """Give some samples another image."""
    index = root / "data/samples/index.parquet"
    rows = records.read_rows(index)
    written = write_shard(root / "data/other.tar", ((f"{n}.png", d) for n, d in images.items()))
    for number, member in zip(images, written, strict=True):
        where = {"image_offset": member.offset, "image_size": member.size}
        rows[number] |= where | {"shard": "data/other.tar"}
    records.write_table(index, rows, records.SAMPLES)


def change_masks(root: Path, change: Callable[[list[Row]], None]) -> None:
    index = root / "data/masks/index.parquet"
    rows = records.read_rows(index)
    change(rows)
    records.write_table(index, rows, records.MASKS)


def test_a_row_of_scores_for_every_sample_in_their_order(
    scoring_root: Path, toy_params: Make
) -> None:
    change_masks(scoring_root, lambda rows: rows.reverse())
    run(toy_params(), scoring_root)
    rows = scores_of(scoring_root)
    assert [row["sample_id"] for row in rows] == [f"sample{n}" for n in range(16)]
    for row in rows:
        assert row["finite"]
        assert row["dark"] == 0
        assert 10 < row["contrast"] < 60
        assert row["entropy"] == pytest.approx(0.1)
        assert (row["similarity"], row["quality"]) == (None, None)
        (scored,) = row["classes"]
        assert scored["margin"] == pytest.approx(0.6)
        assert (scored["components"], scored["largest"]) == (1, 1.0)
        assert (scored["quality"], scored["similarity"]) == (None, None)
    # An 8x8 square has an outline of 28 pixels; on a side of the image lie 8 of them.
    borders = {round(row["classes"][0]["border"] * 28) for row in rows}
    assert borders <= {0, 8, 15}
    assert records.read_json(scoring_root / "metrics/scores.json") == {
        "samples": 16,
        "not_finite": 0,
        "near_duplicates": sum(bool(row["duplicate_of"]) for row in rows),
        "mean_contrast": round(float(np.mean([row["contrast"] for row in rows])), 4),
        "mean_entropy": 0.1,
        "mean_similarity": None,
        "mean_quality": None,
    }


def test_without_folds_no_training_is_in_use(scoring_root: Path, toy_params: Make) -> None:
    write_in_use("training", "score_masks", ["of an earlier run"], scoring_root)
    run(toy_params(), scoring_root)
    assert read_in_use("training", scoring_root) == set()


def test_the_same_samples_give_the_same_bytes(scoring_root: Path, toy_params: Make) -> None:
    index = scoring_root / "data/scores/index.parquet"
    run(toy_params(), scoring_root)
    before = index.read_bytes()
    run(toy_params(), scoring_root)
    assert index.read_bytes() == before


def test_rows_are_held_a_batch_at_a_time(
    scoring_root: Path, toy_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run stays in columns: as a Python object a row takes some kilobytes."""
    monkeypatch.setattr(records, "ROW_GROUP", 64)

    def unread(row: Row, mask: Row, *_: Any) -> Seen:
        scores = {"sample_id": row["sample_id"], "finite": True, "classes": mask["classes"]}
        return Seen(scores, None, None)

    monkeypatch.setattr(score_masks, "look", unread)

    def peak(copies: int) -> int:
        for name, schema in (("samples", records.SAMPLES), ("masks", records.MASKS)):
            path = scoring_root / f"data/{name}/index.parquet"
            rows = records.read_rows(path)[:16]
            many = [
                row | {"sample_id": f"{row['sample_id'][:8]}-{number}"}
                for number in range(copies)
                for row in rows
            ]
            records.write_table(path, many, schema)
        tracemalloc.start()
        run(toy_params(), scoring_root)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1)
    few, many = peak(10), peak(200)
    assert (many - few) / (190 * 16) < 400  # bytes a row


def test_damaged_samples_have_a_row_too(
    scoring_root: Path, toy_params: Make, caplog: pytest.LogCaptureFixture
) -> None:
    def without_numbers(rows: list[Row]) -> None:
        rows[5]["classes"][0]["peak"] = float("nan")
        rows[6]["entropy"] = float("inf")

    change_masks(scoring_root, without_numbers)
    whole = encode_image(np.zeros((16, 16, 3), np.uint8))
    replace_images(scoring_root, {2: whole[:40], 3: whole, 7: b"no image"})
    with caplog.at_level(logging.WARNING):
        run(toy_params(), scoring_root)
    rows = scores_of(scoring_root)
    assert [n for n, row in enumerate(rows) if not row["finite"]] == [2, 5, 6, 7]
    for number in (2, 7):
        assert f"sample sample{number} cannot be read" in caplog.text
        assert rows[number]["hash"] is None
        assert rows[number]["dark"] is None
        assert rows[number]["duplicate_of"] == ""
        assert rows[number]["classes"][0]["components"] is None
    assert (rows[3]["dark"], rows[3]["contrast"]) == (1.0, 0.0)
    assert records.read_json(scoring_root / "metrics/scores.json")["not_finite"] == 4


def test_a_shard_that_is_cut_short_damages_its_last_samples(
    scoring_root: Path, toy_params: Make
) -> None:
    """It is told in the scores; what is before the cut is whole."""
    shard, last = (
        scoring_root / "data/image.tar",
        records.read_rows(scoring_root / "data/samples/index.parquet")[-1],
    )
    shard.write_bytes(shard.read_bytes()[: last["image_offset"] + 10])
    run(toy_params(), scoring_root)
    assert [row["finite"] for row in scores_of(scoring_root)] == [True] * 15 + [False]


def test_a_copy_names_its_original_of_the_same_class(scoring_root: Path, toy_params: Make) -> None:
    first = records.read_rows(scoring_root / "data/samples/index.parquet")[0]
    member = Member(first["shard"], first["image_offset"], first["image_size"])
    data = member.below(scoring_root).read()
    # Samples 1 and 4 show the first one's image; the class of sample 1 is another.
    replace_images(scoring_root, {1: data, 4: data})
    run(toy_params({"score_masks.duplicate_distance": 0}), scoring_root)
    rows = scores_of(scoring_root)
    assert rows[0]["hash"] == rows[1]["hash"] == rows[4]["hash"]
    assert (rows[4]["duplicate_of"], rows[4]["duplicate_distance"]) == ("sample0", 0)
    assert (rows[1]["duplicate_of"], rows[1]["duplicate_distance"]) == ("", None)


SCORED = {"area": 0.5, "peak": 0.5, "margin": 0.5}


def test_duplicates_are_looked_for_up_to_the_distance_asked() -> None:
    rows = [
        {"sample_id": f"s{n}", "hash": value, "classes": [{"name": "car"} | SCORED]}
        for n, value in enumerate((0b0000, None, 0b0111, 0b0101))
    ]
    table = pa.Table.from_pylist(rows, schema=records.SCORES)
    assert find_duplicates(table, 3) == {"s2": ("s0", 3), "s3": ("s2", 1)}
    assert find_duplicates(table, 1) == {"s3": ("s2", 1)}
    assert find_duplicates(table.slice(0, 0), 3) == {}


def test_what_no_stage_computed_is_no_fault() -> None:
    assert is_finite(
        {"entropy": None, "classes": [{"name": "car", "area": 0.5, "agreement": None}]}
    )
    assert not is_finite({"entropy": 0.1, "classes": [{"name": "car", "area": float("nan")}]})


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_similarity_is_of_the_prompt_and_of_each_class(
    scoring_root: Path, toy_params: Make, image_text_folders: dict[str, Path], kind: str
) -> None:
    changes = {
        "score_masks.similarity.model": str(image_text_folders[kind]),
        "score_masks.similarity.batch_size": 3,
    }
    replace_images(scoring_root, {2: b"no image"})
    run(toy_params(changes), scoring_root)
    rows = scores_of(scoring_root)
    assert rows[2]["similarity"] is rows[2]["classes"][0]["similarity"] is None
    model = ImageText(image_text_folders[kind])
    sample = records.read_rows(scoring_root / "data/samples/index.parquet")[13]
    member = Member(sample["shard"], sample["image_offset"], sample["image_size"])
    seen = model.images([decode(member.below(scoring_root).read())])[0]
    prompt, name = model.texts(["a blue square, number 3", "a blue"])
    assert rows[13]["similarity"] == pytest.approx(float(seen @ prompt), abs=1e-5)
    assert rows[13]["classes"][0]["similarity"] == pytest.approx(float(seen @ name), abs=1e-5)
    assert records.read_json(scoring_root / "metrics/scores.json")["mean_similarity"] is not None


def test_a_class_takes_the_article_that_it_has_in_prompts(
    toy_params: Make, image_text_folders: dict[str, Path], tmp_path: Path
) -> None:
    changes = {"score_masks.similarity.model": str(image_text_folders["clip"])}
    section = toy_params(changes).score_masks.similarity
    similarity = Similarity(section, ["oak", "grass"], tmp_path)
    expected = similarity.model.texts(["an oak", "grass", "a oak"])
    assert similarity.of_class["oak"] == pytest.approx(expected[0], abs=1e-5)
    assert similarity.of_class["grass"] == pytest.approx(expected[1], abs=1e-5)
    assert np.abs(expected[0] - expected[2]).max() > 1e-3


def test_cross_validation_scores_every_sound_sample(scoring_root: Path, toy_params: Make) -> None:
    changes = {
        "score_masks.cross_validation.folds": 2,
        "score_masks.cross_validation.iterations": 2,
    }
    replace_images(scoring_root, {2: b"no image"})
    run(toy_params(changes), scoring_root)
    rows = scores_of(scoring_root)
    assert [n for n, row in enumerate(rows) if row["quality"] is None] == [2]
    for row in rows[:2] + rows[3:]:
        assert 0 < row["quality"] < 1
        assert 0 < row["classes"][0]["quality"] < 1
