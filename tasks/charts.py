"""Line charts as geometry: what an SVG needs to draw curves with axes, whatever their colours."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 560, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 34
"""Margins around the plot, in the units of the picture."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where it lies in the picture and what it says."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A curve: its name and the ``d`` of an SVG path."""

    name: str
    path: str


@dataclass(frozen=True)
class Chart:
    """Everything to draw; ``summary`` says the same in words."""

    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    summary: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most ``most`` multiples of 1, 2 or 5 times a power of ten from ``low`` to ``high``."""
    span = high - low
    if span <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            break
    return [round(number * step, 12) for number in range(first, last + 1)]


def line_chart(series: Mapping[str, Points], what: str, top: float | None = None) -> Chart | None:
    """Curves over iterations, both axes from 0.

    Args:
        series: name -> (iteration, value); empty ones are left out.
        what: what the values are, for the summary.
        top: the end of the value axis; None fits it to the values.

    Returns:
        None if there is nothing to draw.
    """
    drawn = {name: points for name, points in series.items() if points}
    if not drawn:
        return None
    x_high = max(x for points in drawn.values() for x, _ in points) or 1
    y_high = top or max(y for points in drawn.values() for _, y in points) * 1.05 or 1

    def place(x: float, y: float) -> tuple[float, float]:
        plot_width, plot_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return LEFT + x / x_high * plot_width, TOP + (1 - y / y_high) * plot_height

    lines = []
    for name, points in drawn.items():
        steps = (place(x, y) for x, y in points)
        lines.append(Line(name, "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in steps)))
    told = (
        f"{name} from {points[0][1]:.2f} to {points[-1][1]:.2f}" for name, points in drawn.items()
    )
    return Chart(
        lines=tuple(lines),
        x_ticks=tuple(Tick(place(x, 0)[0], f"{x:,g}") for x in nice_ticks(0, x_high)),
        y_ticks=tuple(Tick(place(0, y)[1], f"{y:g}") for y in nice_ticks(0, y_high)),
        summary=f"{what} over {x_high:,g} iterations: {'; '.join(told)}.",
    )
