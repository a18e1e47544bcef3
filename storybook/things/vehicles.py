"""Cars and boats."""

from collections.abc import Sequence

from storybook.things.pen import DARK, GLASS, WOOD, Pen, shade
from storybook.vocabulary import RGB


def _wheels(pen: Pen, xs: Sequence[float], radius: float = 0.22) -> None:
    for x in xs:
        pen.ellipse(x, -radius, radius, radius, DARK)
        pen.ellipse(x, -radius, radius * 0.5, radius * 0.5, (196, 196, 200))


def sedan(pen: Pen, colour: RGB) -> None:
    pen.polygon([(-0.55, -0.55), (-0.32, -0.98), (0.28, -0.98), (0.56, -0.55)], colour)
    pen.polygon([(-0.4, -0.56), (-0.26, -0.88), (-0.04, -0.88), (-0.04, -0.56)], GLASS)
    pen.polygon([(0.04, -0.56), (0.04, -0.88), (0.22, -0.88), (0.4, -0.56)], GLASS)
    pen.polygon(
        [(-1, -0.2), (-1, -0.52), (-0.9, -0.6), (0.86, -0.58), (1, -0.42), (1, -0.2)], colour
    )
    pen.ellipse(0.93, -0.42, 0.07, 0.07, (250, 232, 150))
    _wheels(pen, (-0.56, 0.56))


def minivan(pen: Pen, colour: RGB) -> None:
    pen.polygon(
        [
            (-1, -0.2),
            (-1, -1.16),
            (-0.92, -1.24),
            (0.4, -1.24),
            (0.74, -0.72),
            (1, -0.62),
            (1, -0.2),
        ],
        colour,
    )
    for x0, x1 in ((-0.88, -0.46), (-0.38, 0.02)):
        pen.box(x0, -1.1, x1, -0.72, GLASS)
    pen.polygon([(0.1, -0.72), (0.1, -1.1), (0.36, -1.1), (0.6, -0.72)], GLASS)
    pen.box(-1, -0.5, 1, -0.42, shade(colour, 0.75))
    _wheels(pen, (-0.58, 0.58))


def convertible(pen: Pen, colour: RGB) -> None:
    pen.polygon([(0.12, -0.5), (0.3, -0.9), (0.38, -0.9), (0.34, -0.5)], GLASS)
    pen.polygon(
        [
            (-1, -0.18),
            (-1, -0.5),
            (-0.7, -0.64),
            (-0.5, -0.52),
            (0.3, -0.52),
            (0.9, -0.5),
            (1, -0.3),
            (1, -0.18),
        ],
        colour,
    )
    pen.box(-0.42, -0.74, -0.22, -0.48, WOOD)
    pen.ellipse(0.92, -0.4, 0.07, 0.07, (250, 232, 150))
    _wheels(pen, (-0.58, 0.58), 0.24)


def sailboat(pen: Pen, colour: RGB) -> None:
    pen.box(-0.04, -1.5, 0.04, -0.3, WOOD)
    pen.polygon([(0.08, -1.48), (0.08, -0.42), (0.84, -0.42)], (246, 244, 236))
    pen.polygon([(-0.08, -1.3), (-0.08, -0.42), (-0.66, -0.42)], shade(colour, 1.35))
    pen.polygon([(-0.9, -0.34), (0.96, -0.34), (0.62, 0), (-0.62, 0)], colour)


def steamboat(pen: Pen, colour: RGB) -> None:
    pen.box(-0.3, -1.3, -0.02, -0.6, shade(colour, 0.7))
    pen.box(-0.3, -1.3, -0.02, -1.16, DARK)
    pen.box(0.16, -1.12, 0.38, -0.6, shade(colour, 0.7))
    pen.box(-0.68, -0.78, 0.62, -0.36, (244, 242, 236))
    for x in (-0.48, -0.14, 0.2, 0.46):
        pen.ellipse(x, -0.57, 0.07, 0.07, (60, 90, 130))
    pen.polygon([(-1, -0.4), (1.06, -0.46), (0.8, 0), (-0.82, 0)], colour)
    pen.polygon([(-0.93, -0.14), (0.9, -0.14), (0.8, 0), (-0.82, 0)], shade(colour, 0.6))


def canoe(pen: Pen, colour: RGB) -> None:
    pen.polygon(
        [
            (-1.15, -0.52),
            (-0.8, -0.3),
            (0.8, -0.3),
            (1.15, -0.52),
            (1, -0.12),
            (0.72, 0.04),
            (-0.72, 0.04),
            (-1, -0.12),
        ],
        colour,
    )
    pen.polygon([(-0.8, -0.3), (0.8, -0.3), (0.66, -0.2), (-0.66, -0.2)], shade(colour, 0.55))
    pen.polygon([(0.1, -0.96), (0.18, -0.98), (-0.26, 0.02), (-0.36, 0)], WOOD)
    pen.ellipse(0.15, -0.98, 0.1, 0.14, WOOD)
