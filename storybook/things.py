"""How each thing is drawn: one function an outline, in unit coordinates.

A drawing function gets a `Pen` and a main colour. x runs from -1 (back) to 1 (front), y from 0
(where it stands) to -1 upwards at most about 1.6; the pen scales, mirrors and places it, and keeps
the label map exact by drawing every stroke there too.
"""

import math
from collections.abc import Callable, Sequence

from PIL import ImageDraw

from storybook.vocabulary import RGB

DARK: RGB = (44, 40, 46)
GLASS: RGB = (198, 226, 240)
WOOD: RGB = (112, 74, 44)
STEM: RGB = (56, 128, 54)


def shade(colour: RGB, factor: float) -> RGB:
    """``colour`` darkened (factor < 1) or lightened towards white (factor > 1)."""
    if factor <= 1:
        return tuple(int(c * factor) for c in colour)  # type: ignore[return-value]  # 3-tuple
    return tuple(int(255 - (255 - c) * (2 - factor)) for c in colour)  # type: ignore[return-value]


class Pen:
    """Draws on an image and on its label map at once.

    Args:
        image, label: drawing contexts of equal size, RGB and L.
        value: label value of everything this pen draws.
        origin: pixel at which (0, 0) lies.
        scale: pixels per unit.
        mirror: draw facing the other way.
    """

    def __init__(
        self,
        image: ImageDraw.ImageDraw,
        label: ImageDraw.ImageDraw,
        value: int,
        origin: tuple[float, float],
        scale: float,
        mirror: bool,
    ) -> None:
        self.image, self.label, self.value = image, label, value
        self.origin, self.scale, self.sign = origin, scale, -1.0 if mirror else 1.0

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.origin[0] + self.sign * x * self.scale, self.origin[1] + y * self.scale

    def polygon(self, points: Sequence[tuple[float, float]], colour: RGB) -> None:
        corners = [self.at(x, y) for x, y in points]
        self.image.polygon(corners, fill=colour)
        self.label.polygon(corners, fill=self.value)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: RGB) -> None:
        cx, cy = self.at(x, y)
        box = (
            cx - rx * self.scale,
            cy - ry * self.scale,
            cx + rx * self.scale,
            cy + ry * self.scale,
        )
        self.image.ellipse(box, fill=colour)
        self.label.ellipse(box, fill=self.value)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: RGB) -> None:
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)


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


DRAWINGS: dict[str, Callable[[Pen, RGB], None]] = {
    f.__name__: f
    for f in (
        sedan, minivan, convertible, sailboat, steamboat, canoe, oak, pine, palm,
        cottage, mansion, chalet, duck, owl, penguin, goldfish, shark, puffer,
        dachshund, poodle, dalmatian, daisy, sunflower, poppy,
    )
}  # fmt: skip
"""Hyponym -> how it is drawn."""
