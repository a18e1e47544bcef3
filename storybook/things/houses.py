"""Houses."""

from storybook.things.pen import GLASS, WOOD, Pen, shade
from storybook.vocabulary import RGB


def cottage(pen: Pen, colour: RGB) -> None:
    pen.box(0.4, -1.24, 0.6, -0.7, (150, 78, 60))
    pen.box(-0.86, -0.66, 0.86, 0, colour)
    pen.polygon([(-1.04, -0.62), (-0.64, -1.18), (0.64, -1.18), (1.04, -0.62)], (176, 70, 52))
    pen.box(-0.14, -0.46, 0.16, 0, WOOD)
    for x in (-0.66, 0.36):
        pen.box(x, -0.5, x + 0.32, -0.2, GLASS)


def mansion(pen: Pen, colour: RGB) -> None:
    pen.box(-0.98, -1.1, 0.98, 0, colour)
    pen.box(-1.06, -1.22, 1.06, -1.08, (96, 92, 110))
    pen.polygon([(-0.42, -1.2), (0, -1.52), (0.42, -1.2)], (96, 92, 110))
    for x in (-0.84, -0.5, 0.3, 0.64):
        for y in (-0.94, -0.46):
            pen.box(x, y, x + 0.2, y + 0.3, (84, 120, 160))
    pen.box(-0.16, -0.5, 0.16, 0, WOOD)
    pen.box(-0.12, -0.96, 0.12, -0.66, (84, 120, 160))


def chalet(pen: Pen, colour: RGB) -> None:
    pen.polygon([(-0.98, 0), (0, -1.5), (0.98, 0)], shade(colour, 0.6))
    pen.polygon([(-0.68, 0), (0, -1.08), (0.68, 0)], shade(colour, 1.25))
    pen.box(-0.16, -0.4, 0.16, 0, WOOD)
    pen.box(-0.16, -0.74, 0.16, -0.5, GLASS)
