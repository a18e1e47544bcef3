"""The measurement of Prefect's cost, one round: a real server on loopback."""

import pytest

from benchmarks.prefect import measure


@pytest.mark.slow
def test_both_cases_are_measured() -> None:
    rows = measure(rounds=1)
    assert [row["what"] for row in rows] == ["every stage runs", "nothing to do"]
    assert all(float(row["flow with server, s"]) > float(row["dvc repro, s"]) > 0 for row in rows)
