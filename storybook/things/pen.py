"""What draws a thing and its label at once, and the colours that all things share."""

from collections.abc import Sequence

from PIL import ImageDraw

from storybook.vocabulary import RGB

DARK: RGB = (44, 40, 46)
GLASS: RGB = (198, 226, 240)
WOOD: RGB = (112, 74, 44)


def shade(colour: RGB, factor: float) -> RGB:
    """``colour`` darkened (factor < 1) or lightened towards white (factor > 1)."""
    red, green, blue = (
        c * factor if factor <= 1 else 255 - (255 - c) * (2 - factor) for c in colour
    )
    return int(red), int(green), int(blue)


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
