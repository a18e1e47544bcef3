"""Birds, fishes and dogs."""

import math

from storybook.things.pen import DARK, Pen, shade
from storybook.vocabulary import RGB


def duck(pen: Pen, colour: RGB) -> None:
    pen.polygon([(-1.04, -0.72), (-0.5, -0.66), (-0.6, -0.2)], shade(colour, 0.85))
    pen.ellipse(-0.1, -0.4, 0.78, 0.4, colour)
    pen.polygon([(0.22, -0.4), (0.3, -0.98), (0.68, -0.98), (0.66, -0.3)], colour)
    pen.ellipse(0.5, -1.04, 0.3, 0.28, colour)
    pen.polygon([(0.72, -1.12), (1.14, -1), (0.72, -0.9)], (238, 130, 30))
    pen.ellipse(0.58, -1.12, 0.06, 0.06, DARK)
    pen.ellipse(-0.22, -0.44, 0.42, 0.2, shade(colour, 0.82))


def owl(pen: Pen, colour: RGB) -> None:
    pen.polygon([(-0.52, -1.2), (-0.5, -1.58), (-0.14, -1.34)], shade(colour, 0.8))
    pen.polygon([(0.52, -1.2), (0.5, -1.58), (0.14, -1.34)], shade(colour, 0.8))
    pen.ellipse(0, -0.66, 0.6, 0.66, colour)
    pen.ellipse(0, -1.08, 0.55, 0.38, colour)
    pen.ellipse(0, -0.48, 0.36, 0.4, shade(colour, 1.5))
    pen.polygon([(-0.6, -0.9), (-0.74, -0.24), (-0.36, -0.5)], shade(colour, 0.7))
    pen.polygon([(0.6, -0.9), (0.74, -0.24), (0.36, -0.5)], shade(colour, 0.7))
    for x in (-0.22, 0.22):
        pen.ellipse(x, -1.1, 0.21, 0.21, (250, 240, 200))
        pen.ellipse(x, -1.1, 0.1, 0.1, DARK)
    pen.polygon([(-0.08, -0.98), (0.08, -0.98), (0, -0.8)], (238, 150, 40))


def penguin(pen: Pen, colour: RGB) -> None:
    back = shade(colour, 0.42)
    for x in (-0.22, 0.22):
        pen.ellipse(x, -0.05, 0.2, 0.08, (238, 140, 36))
    pen.ellipse(0, -0.68, 0.52, 0.66, back)
    pen.polygon([(-0.44, -1.06), (-0.86, -0.46), (-0.42, -0.58)], back)
    pen.polygon([(0.44, -1.06), (0.86, -0.46), (0.42, -0.58)], back)
    pen.ellipse(0, -1.26, 0.33, 0.3, back)
    pen.ellipse(0.04, -0.58, 0.36, 0.52, (248, 248, 246))
    pen.polygon([(0.24, -1.3), (0.58, -1.18), (0.24, -1.12)], (238, 140, 36))
    pen.ellipse(0.14, -1.32, 0.06, 0.06, (250, 250, 250))


def goldfish(pen: Pen, colour: RGB) -> None:
    pen.polygon([(-0.44, -0.62), (-1.1, -1.08), (-0.92, -0.6), (-1.1, -0.12)], shade(colour, 0.8))
    pen.polygon([(-0.3, -0.96), (0.04, -1.3), (0.4, -0.96)], shade(colour, 0.8))
    pen.polygon([(-0.1, -0.26), (-0.14, 0), (0.24, -0.26)], shade(colour, 0.8))
    pen.ellipse(0.16, -0.62, 0.74, 0.44, colour)
    pen.ellipse(0.58, -0.72, 0.11, 0.11, (250, 250, 250))
    pen.ellipse(0.6, -0.72, 0.06, 0.06, DARK)
    pen.polygon([(0.1, -0.62), (-0.2, -0.44), (-0.16, -0.8)], shade(colour, 0.75))


def shark(pen: Pen, colour: RGB) -> None:
    pen.polygon([(-0.74, -0.5), (-1.2, -1.04), (-1.02, -0.5), (-1.18, -0.12)], shade(colour, 0.85))
    pen.polygon([(-0.16, -0.74), (-0.1, -1.28), (0.3, -0.76)], shade(colour, 0.85))
    pen.polygon([(0.0, -0.3), (-0.26, 0.06), (0.3, -0.28)], shade(colour, 0.75))
    pen.polygon(
        [
            (-0.9, -0.5),
            (-0.4, -0.74),
            (0.2, -0.84),
            (0.8, -0.7),
            (1.16, -0.46),
            (0.7, -0.28),
            (0.1, -0.2),
            (-0.4, -0.32),
        ],
        colour,
    )
    pen.polygon(
        [(-0.3, -0.36), (0.4, -0.4), (1.06, -0.42), (0.7, -0.28), (0.1, -0.2)], (236, 238, 240)
    )
    pen.ellipse(0.72, -0.58, 0.06, 0.06, DARK)
    for x in (0.36, 0.46):
        pen.box(x, -0.62, x + 0.04, -0.42, shade(colour, 0.6))


def puffer(pen: Pen, colour: RGB) -> None:
    for k in range(14):
        a = 2 * math.pi * k / 14
        b = 0.14
        pen.polygon(
            [
                (0.08 + 0.56 * math.cos(a - b), -0.66 + 0.56 * math.sin(a - b)),
                (0.08 + 0.82 * math.cos(a), -0.66 + 0.82 * math.sin(a)),
                (0.08 + 0.56 * math.cos(a + b), -0.66 + 0.56 * math.sin(a + b)),
            ],
            shade(colour, 0.7),
        )
    pen.polygon([(-0.5, -0.66), (-1, -0.98), (-0.88, -0.66), (-1, -0.34)], shade(colour, 0.8))
    pen.ellipse(0.08, -0.66, 0.62, 0.6, colour)
    pen.ellipse(0.14, -0.42, 0.44, 0.32, shade(colour, 1.6))
    pen.ellipse(0.42, -0.82, 0.14, 0.14, (250, 250, 250))
    pen.ellipse(0.45, -0.82, 0.07, 0.07, DARK)


def dachshund(pen: Pen, colour: RGB) -> None:
    for x in (-0.86, -0.62, 0.4, 0.64):
        pen.box(x - 0.09, -0.34, x + 0.09, 0, shade(colour, 0.8))
    pen.polygon([(-0.96, -0.56), (-1.3, -0.98), (-1.2, -1), (-0.86, -0.66)], colour)
    pen.ellipse(-0.1, -0.48, 0.96, 0.26, colour)
    pen.polygon([(0.5, -0.5), (0.6, -0.96), (0.94, -0.86), (0.86, -0.42)], colour)
    pen.ellipse(0.82, -0.92, 0.26, 0.22, colour)
    pen.polygon([(0.86, -1.04), (1.32, -0.86), (1.28, -0.74), (0.86, -0.76)], colour)
    pen.ellipse(1.3, -0.82, 0.07, 0.07, DARK)
    pen.ellipse(0.68, -0.78, 0.13, 0.26, shade(colour, 0.55))
    pen.ellipse(0.92, -0.96, 0.05, 0.05, DARK)


def poodle(pen: Pen, colour: RGB) -> None:
    skin = shade(colour, 0.78)
    for x in (-0.52, -0.34, 0.3, 0.48):
        pen.box(x - 0.06, -0.5, x + 0.06, 0, skin)
        pen.ellipse(x, -0.1, 0.15, 0.13, colour)
    pen.polygon([(-0.56, -0.66), (-0.84, -1.1), (-0.78, -1.12), (-0.46, -0.74)], skin)
    pen.ellipse(-0.84, -1.16, 0.18, 0.18, colour)
    pen.ellipse(-0.3, -0.64, 0.34, 0.24, skin)
    pen.ellipse(0.26, -0.7, 0.42, 0.38, colour)
    pen.box(0.36, -1.16, 0.62, -0.7, colour)
    pen.polygon([(0.54, -1.3), (1.02, -1.12), (1, -1), (0.56, -1.02)], skin)
    pen.ellipse(1, -1.08, 0.07, 0.07, DARK)
    pen.ellipse(0.46, -1.4, 0.28, 0.25, colour)
    pen.ellipse(0.34, -1.12, 0.16, 0.27, shade(colour, 0.9))
    pen.ellipse(0.66, -1.2, 0.05, 0.05, DARK)


def dalmatian(pen: Pen, colour: RGB) -> None:
    for x in (-0.62, -0.42, 0.3, 0.5):
        pen.box(x - 0.09, -0.56, x + 0.09, 0, shade(colour, 0.9))
    pen.polygon([(-0.66, -0.8), (-1.1, -1.16), (-1.06, -1.24), (-0.56, -0.9)], colour)
    pen.ellipse(-0.06, -0.7, 0.72, 0.3, colour)
    pen.polygon([(0.3, -0.7), (0.46, -1.22), (0.8, -1.1), (0.64, -0.6)], colour)
    pen.ellipse(0.66, -1.18, 0.28, 0.24, colour)
    pen.polygon([(0.74, -1.3), (1.12, -1.14), (1.1, -0.98), (0.74, -0.98)], colour)
    pen.ellipse(1.1, -1.08, 0.08, 0.08, DARK)
    pen.polygon([(0.44, -1.36), (0.6, -1.3), (0.5, -0.92), (0.36, -1)], DARK)
    pen.ellipse(0.78, -1.22, 0.05, 0.05, DARK)
    for x, y in (
        (-0.5, -0.72),
        (-0.22, -0.56),
        (-0.14, -0.84),
        (0.14, -0.66),
        (0.34, -0.84),
        (0.56, -0.94),
        (-0.44, -0.36),
    ):
        pen.ellipse(x, y, 0.09, 0.08, DARK)
