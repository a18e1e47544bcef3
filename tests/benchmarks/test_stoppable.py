"""The kills of the measurement are kills, and what they lose is counted."""

import multiprocessing
from pathlib import Path

import pytest

from benchmarks.stoppable import (
    BATCH,
    SHARD,
    complete,
    digests,
    finished,
    images,
    kill_at,
    write_inputs,
)

STAGE = "sample_images"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    complete(STAGE, write_inputs(root, SHARD), root)
    return root


def test_a_whole_run_computes_every_image_once(whole: Path) -> None:
    assert images(whole) == 2 * SHARD and finished(whole, STAGE) == 2
    assert set(digests(whole, STAGE)) == {
        "index.parquet",
        "shards/car-0000.tar",
        "shards/boat-0000.tar",
    }


def test_a_kill_in_the_second_shard_loses_what_is_in_hand(whole: Path, tmp_path: Path) -> None:
    params = write_inputs(tmp_path, SHARD)
    assert kill_at(STAGE, params, tmp_path, SHARD + BATCH, 0.0)
    assert not multiprocessing.active_children()
    assert finished(tmp_path, STAGE) == 1 and "index.parquet" not in digests(tmp_path, STAGE)
    complete(STAGE, params, tmp_path)
    assert digests(tmp_path, STAGE) == digests(whole, STAGE)
    assert SHARD <= images(tmp_path) - SHARD <= 2 * SHARD


def test_a_run_that_ended_was_not_killed(whole: Path) -> None:
    params = write_inputs(whole, SHARD)
    assert not kill_at(STAGE, params, whole, 10**6, 0.0)


def test_a_stage_that_fails_says_why(tmp_path: Path) -> None:
    params = write_inputs(tmp_path, SHARD)
    (tmp_path / "data/prompts.parquet").unlink()
    with pytest.raises(SystemExit, match=r"sample_images failed:[\s\S]*prompts\.parquet"):
        complete(STAGE, params, tmp_path)
