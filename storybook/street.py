"""The ``street`` domain: road, sky, buildings, traffic from a driver's seat, at dusk, some in rain.

A distant domain: another palette, another viewpoint, every pixel belongs to a class. The base model
never saw it.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from storybook.page import SIZE, SUPERSAMPLING, downsample, gradient
from storybook.vocabulary import RGB, STREET_CLASSES, classes_shown

VALUES = {name: value for value, name in enumerate(STREET_CLASSES)}

SKY: tuple[tuple[RGB, RGB], ...] = (
    ((52, 46, 84), (216, 132, 96)),
    ((40, 48, 74), (150, 120, 140)),
    ((70, 78, 96), (160, 160, 170)),
)
"""Dusk, late dusk and rain clouds: colour at the top and at the horizon."""
WALLS: tuple[RGB, ...] = ((92, 74, 82), (112, 92, 88), (76, 80, 98), (122, 104, 96), (88, 88, 96))
PAINT: tuple[RGB, ...] = (
    (142, 40, 44),
    (48, 62, 104),
    (150, 148, 146),
    (60, 92, 74),
    (170, 132, 60),
)


@dataclass(frozen=True)
class Street:
    """What is drawn: ``vanishing`` is the point where the road ends, in units of the image."""

    sky: int
    vanishing: tuple[float, float]
    rain: bool
    seed: int
    buildings: bool
    trees: tuple[tuple[float, float], ...]
    cars: tuple[tuple[float, float], ...]


def sample_street(rng: np.random.Generator) -> Street:
    """Draw a street; ``trees`` are (side, depth), ``cars`` (lane, depth), depth 0 far to 1 near."""
    trees = [
        (float(rng.choice([-1, 1])), float(rng.uniform(0.2, 0.8)))
        for _ in range(rng.integers(0, 4))
    ]
    cars = [
        (float(rng.choice([-0.5, 0.5])), float(rng.uniform(0.15, 0.75)))
        for _ in range(rng.integers(0, 3))
    ]
    return Street(
        sky=int(rng.integers(len(SKY))),
        vanishing=(float(rng.uniform(0.4, 0.6)), float(rng.uniform(0.4, 0.5))),
        rain=bool(rng.random() < 0.3),
        seed=int(rng.integers(2**31)),
        buildings=bool(rng.random() < 0.85),
        trees=tuple(sorted(trees, key=lambda tree: tree[1])),
        cars=tuple(sorted(cars, key=lambda car: car[1])),
    )


class _Canvas:
    """An image and its label map; coordinates 0..1."""

    def __init__(self, image: Image.Image, label: Image.Image) -> None:
        self.side = image.width
        self.image, self.label = ImageDraw.Draw(image), ImageDraw.Draw(label)

    def polygon(self, points: list[tuple[float, float]], colour: RGB, name: str) -> None:
        corners = [(x * self.side, y * self.side) for x, y in points]
        self.image.polygon(corners, fill=colour)
        self.label.polygon(corners, fill=VALUES[name])

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: RGB, name: str) -> None:
        box = tuple(v * self.side for v in (x - rx, y - ry, x + rx, y + ry))
        self.image.ellipse(box, fill=colour)
        self.label.ellipse(box, fill=VALUES[name])


def _buildings(canvas: _Canvas, street: Street, rng: np.random.Generator) -> None:
    vx, vy = street.vanishing
    for side in (-1, 1):
        near, depth = 1.05, 1.0
        while depth > 0.15:
            far = depth * float(rng.uniform(0.5, 0.7))
            height = float(rng.uniform(0.45, 0.95))
            wall = WALLS[rng.integers(len(WALLS))]
            x0, x1 = vx + side * near * depth * 0.62, vx + side * near * far * 0.62
            canvas.polygon(
                [
                    (x0, vy - height * depth * 0.75),
                    (x1, vy - height * far * 0.75),
                    (x1, vy + 0.06 * far),
                    (x0, vy + 0.06 * depth),
                ],
                wall,
                "building",
            )
            for row in range(1, 4):
                lit = (226, 190, 110) if rng.random() < 0.5 else tuple(int(c * 0.7) for c in wall)
                mid, width = (x0 + x1) / 2, abs(x0 - x1) * 0.16
                y = vy - height * (depth + far) / 2 * 0.75 * row / 4
                size = 0.05 * depth
                canvas.polygon(
                    [
                        (mid - width, y),
                        (mid + width, y),
                        (mid + width, y + size),
                        (mid - width, y + size),
                    ],
                    lit,  # type: ignore[arg-type]  # a 3-tuple
                    "building",
                )
            depth = far


def _tree(canvas: _Canvas, street: Street, side: float, depth: float) -> None:
    vx, vy = street.vanishing
    x, foot, size = vx + side * (0.12 + 0.42 * depth), vy + 0.12 + 0.2 * depth, 0.1 + 0.26 * depth
    canvas.polygon(
        [
            (x - size * 0.1, foot),
            (x + size * 0.1, foot),
            (x + size * 0.06, foot - size),
            (x - size * 0.06, foot - size),
        ],
        (58, 42, 38),
        "tree",
    )
    canvas.ellipse(x, foot - size * 1.3, size * 0.48, size * 0.62, (38, 62, 50), "tree")
    canvas.ellipse(
        x - size * 0.1, foot - size * 1.45, size * 0.3, size * 0.34, (52, 80, 60), "tree"
    )


def _car(canvas: _Canvas, street: Street, lane: float, depth: float, paint: RGB) -> None:
    vx, vy = street.vanishing
    x, foot, half = vx + lane * (0.06 + 0.44 * depth), vy + 0.06 + 0.42 * depth, 0.04 + 0.15 * depth
    dark: RGB = (24, 22, 28)
    for wheel in (-0.78, 0.78):
        canvas.polygon(
            [
                (x + (wheel + d) * half, foot + e * half)
                for d, e in ((-0.2, -0.3), (0.2, -0.3), (0.2, 0.12), (-0.2, 0.12))
            ],
            dark,
            "car",
        )
    canvas.polygon(
        [
            (x - half, foot - 0.12 * half),
            (x - half, foot - 0.8 * half),
            (x + half, foot - 0.8 * half),
            (x + half, foot - 0.12 * half),
        ],
        paint,
        "car",
    )
    canvas.polygon(
        [
            (x - 0.86 * half, foot - 0.8 * half),
            (x - 0.64 * half, foot - 1.4 * half),
            (x + 0.64 * half, foot - 1.4 * half),
            (x + 0.86 * half, foot - 0.8 * half),
        ],
        paint,
        "car",
    )
    canvas.polygon(
        [
            (x - 0.66 * half, foot - 0.84 * half),
            (x - 0.52 * half, foot - 1.28 * half),
            (x + 0.52 * half, foot - 1.28 * half),
            (x + 0.66 * half, foot - 0.84 * half),
        ],
        (70, 82, 100),
        "car",
    )
    for lamp in (-0.76, 0.76):
        canvas.ellipse(
            x + lamp * half, foot - 0.58 * half, 0.17 * half, 0.13 * half, (240, 60, 50), "car"
        )


def render(street: Street) -> tuple[np.ndarray, np.ndarray]:
    """Draw a street.

    Returns:
        image ``uint8 (64, 64, 3)`` and label ``uint8 (64, 64)``, values as in ``STREET_CLASSES``.
    """
    rng = np.random.default_rng(street.seed)
    side = SIZE * SUPERSAMPLING
    image = Image.fromarray(gradient(*SKY[street.sky], side, side))
    label = Image.new("L", (side, side), VALUES["sky"])
    canvas = _Canvas(image, label)
    vx, vy = street.vanishing
    canvas.polygon([(0, vy), (1, vy), (1, 1), (0, 1)], (52, 66, 52), "grass")
    canvas.polygon([(vx - 0.03, vy), (vx + 0.03, vy), (1.1, 1), (-0.1, 1)], (56, 54, 64), "road")
    for k in range(5):
        near, far = 0.2 * k + 0.14, 0.2 * k + 0.05
        canvas.polygon(
            [
                (vx - 0.012 * far, vy + (1 - vy) * far),
                (vx + 0.012 * far, vy + (1 - vy) * far),
                (vx + 0.03 * near, vy + (1 - vy) * near),
                (vx - 0.03 * near, vy + (1 - vy) * near),
            ],
            (170, 166, 150),
            "road",
        )
    if street.buildings:
        _buildings(canvas, street, rng)
    for tree in street.trees:
        _tree(canvas, street, *tree)
    for car in street.cars:
        _car(canvas, street, *car, PAINT[rng.integers(len(PAINT))])
    pixels, values = downsample(image, label)
    if street.rain:
        streaks = rng.random((SIZE, SIZE, 1)) < 0.05
        grey = pixels.mean(2, keepdims=True)
        wet = 0.6 * pixels + 0.4 * grey + 10
        pixels = np.where(streaks, wet + 34, wet).clip(0, 255).astype(np.uint8)
    return pixels, values


def caption(label: np.ndarray) -> str:
    """Which classes a label map shows, as a prompt names them: "a road, sky and a car"."""
    present = classes_shown(label, "street")
    words = [name if name in ("sky", "grass") else f"a {name}" for name in present]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
