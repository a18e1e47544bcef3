"""The measurement of the fan-out, with few images and one step: real server, real processes."""

import pytest

from benchmarks.fan_out import measure


@pytest.mark.slow
def test_every_way_makes_the_same_bytes() -> None:
    rows = measure(images_per_class=4, steps=1)
    assert [row["way"] for row in rows][:2] == ["the stage alone", "two processes"]
    assert all(row["byte-equal"] is True and row["shards"] == 8 for row in rows)
