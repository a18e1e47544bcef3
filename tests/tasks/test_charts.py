"""Axes with round numbers, and curves where they belong."""

import pytest

from tasks.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, line_chart, nice_ticks


@pytest.mark.parametrize(
    ("high", "ticks"),
    [
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (700, [0, 200, 400, 600]),
        (2.2, [0, 0.5, 1, 1.5, 2]),
        (0.037, [0, 0.01, 0.02, 0.03]),
        (80_000, [0, 20_000, 40_000, 60_000, 80_000]),
        (0, [0]),
    ],
)
def test_ticks_are_round(high: float, ticks: list[float]) -> None:
    assert nice_ticks(0, high) == ticks


def test_curves_fill_the_plot() -> None:
    chart = line_chart({"synthetic": [(0, 0.0), (100, 1.0)], "reference": []}, "mIoU", top=1.0)
    assert chart is not None
    (line,) = chart.lines
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    assert line.path == f"M{LEFT:.1f} {bottom:.1f}L{right:.1f} {TOP:.1f}"
    assert [(tick.at, tick.text) for tick in chart.x_ticks][-1] == (right, "100")
    assert chart.y_ticks[0].at == bottom
    assert chart.summary == "mIoU over 100 iterations: synthetic from 0.00 to 1.00."


def test_without_values_there_is_no_chart() -> None:
    assert line_chart({"synthetic": [], "reference": []}, "Loss") is None
