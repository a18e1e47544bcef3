"""What the report says of the trainings: their curves, and what became of reliability.

Imports no torch.
"""

from typing import Any

from tasks.charts import Chart, line_chart

Row = dict[str, Any]


def curve(key: str, what: str, training: Row, reference: Row, top: float | None = None) -> Any:
    """A value over the iterations of both trainings; None where neither has it."""
    series = {"synthetic": training.get(key, []), "reference": reference.get(key, [])}
    return line_chart(series, what, top)


def reliability(training: Row, colours: dict[str, str]) -> Row | None:
    """How far labels were trusted over the training; None where reliability was not used.

    Args:
        training: ``metrics/training.json``; the rows of its ``reliability`` have an iteration, the
            mean weight of a pixel, ``reliable``, that of each class, and, of two networks, the
            share of pixels on which they agree.
        colours: of the labels.

    Returns:
        The ``chart`` over all pixels; ``classes``: name, colour, the last mean weight of each, and
        the ``path`` of a small curve in a box of 100 by 24; ``agreement``: whether the chart has
        the two networks' curve too.
    """
    rows = training.get("reliability")
    if not rows:
        return None
    whole = {
        name: [(row["iteration"], row[key]) for row in rows if row.get(key) is not None]
        for name, key in (("reliable", "reliable"), ("agreement", "agreement"))
    }
    classes = []
    for name in rows[-1]["reliable_by_class"]:
        points = [(row["iteration"], row["reliable_by_class"][name]) for row in rows]
        known = [(x, y) for x, y in points if y is not None]
        if known:
            classes.append(
                {
                    "name": name,
                    "colour": colours[name],
                    "last": known[-1][1],
                    "path": _path(known, rows[-1]["iteration"]),
                }
            )
    chart: Chart | None = line_chart(whole, "Share of the labels that is trusted", 1.0)
    return {"chart": chart, "classes": classes, "agreement": bool(whole["agreement"])}


def _path(points: list[tuple[float, float]], end: float) -> str:
    return "M" + "L".join(f"{100 * x / end:.1f} {24 - 24 * y:.1f}" for x, y in points)
