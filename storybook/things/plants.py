"""Trees and flowers."""

import math

from storybook.things.pen import DARK, WOOD, Pen, shade
from storybook.vocabulary import RGB

STEM: RGB = (56, 128, 54)


def oak(pen: Pen, colour: RGB) -> None:
    pen.polygon([(-0.17, 0), (-0.11, -0.66), (0.11, -0.66), (0.17, 0)], WOOD)
    for x, y, r in ((-0.4, -0.8, 0.36), (0.4, -0.8, 0.36), (0, -1.14, 0.46), (0, -0.74, 0.36)):
        pen.ellipse(x, y, r, r, shade(colour, 0.86))
    pen.ellipse(-0.1, -1.16, 0.3, 0.26, colour)


def pine(pen: Pen, colour: RGB) -> None:
    pen.box(-0.1, -0.3, 0.1, 0, WOOD)
    for base, top, half in ((-0.22, -0.9, 0.66), (-0.6, -1.22, 0.52), (-0.98, -1.56, 0.38)):
        pen.polygon([(-half, base), (0, top), (half, base)], shade(colour, 0.66))
        pen.polygon([(-half, base), (0, top), (-half * 0.1, base)], shade(colour, 0.82))


def palm(pen: Pen, colour: RGB) -> None:
    pen.polygon(
        [(-0.14, 0), (-0.02, -0.6), (0.06, -1.12), (0.2, -1.12), (0.14, -0.6), (0.1, 0)], WOOD
    )
    for dx, dy in (
        (-0.76, -0.82),
        (-0.66, -1.24),
        (-0.2, -1.52),
        (0.5, -1.48),
        (0.94, -1.18),
        (0.96, -0.78),
    ):
        x, y = 0.12, -1.12
        mx, my = (x + dx) / 2, (y + dy) / 2 - 0.1
        pen.polygon([(x, y + 0.05), (mx, my - 0.1), (dx, dy), (mx, my + 0.14)], colour)


def _petals(pen: Pen, count: int, radius: float, size: tuple[float, float], colour: RGB) -> None:
    """``count`` petals around (0, -1.1): diamonds pointing outwards."""
    length, half = size
    for k in range(count):
        a = 2 * math.pi * k / count
        ux, uy = math.cos(a), math.sin(a)
        inner, middle, outer = radius, radius + length * 0.55, radius + length
        pen.polygon(
            [
                (inner * ux, -1.1 + inner * uy),
                (middle * ux - half * uy, -1.1 + middle * uy + half * ux),
                (outer * ux, -1.1 + outer * uy),
                (middle * ux + half * uy, -1.1 + middle * uy - half * ux),
            ],
            colour,
        )


def _stem(pen: Pen) -> None:
    pen.box(-0.06, -1.0, 0.06, 0, STEM)
    pen.polygon([(0, -0.1), (0.5, -0.5), (0.2, -0.08)], STEM)
    pen.polygon([(0, -0.2), (-0.5, -0.56), (-0.22, -0.12)], STEM)


def daisy(pen: Pen, colour: RGB) -> None:
    _stem(pen)
    _petals(pen, 9, 0.1, (0.52, 0.17), colour)
    pen.ellipse(0, -1.1, 0.2, 0.2, (244, 190, 40))


def sunflower(pen: Pen, colour: RGB) -> None:
    _stem(pen)
    _petals(pen, 16, 0.3, (0.34, 0.13), colour)
    pen.ellipse(0, -1.1, 0.38, 0.38, (98, 62, 32))
    pen.ellipse(0, -1.1, 0.2, 0.2, (70, 44, 26))


def poppy(pen: Pen, colour: RGB) -> None:
    _stem(pen)
    pen.ellipse(-0.32, -1.14, 0.34, 0.38, shade(colour, 0.85))
    pen.ellipse(0.32, -1.14, 0.34, 0.38, shade(colour, 0.85))
    pen.ellipse(0, -1.06, 0.42, 0.36, colour)
    pen.ellipse(0, -1.24, 0.17, 0.14, DARK)
