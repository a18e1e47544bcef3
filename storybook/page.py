"""The ``page`` domain: one to three large things before a smooth, simple background.

A scene is a description; `render` draws it with exact labels and `caption` says it. All
randomness comes from the generator that is passed in.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from storybook.things import DRAWINGS
from storybook.things.pen import Pen
from storybook.vocabulary import (
    COLOURS,
    GROUNDS,
    PAGE_CLASSES,
    RGB,
    SKIES,
    TYPICAL_COLOURS,
    ThingClass,
    page_class_of,
)

SIZE = 64
"""Side of an image in pixels."""
SUPERSAMPLING = 4
"""Images are drawn at 256x256 and averaged down, labels take the centre of each 4x4 block."""

Placement = tuple[float, float, float]


@dataclass(frozen=True)
class Thing:
    """A thing of a scene; ``x, y`` is the middle of its foot, ``extent`` its larger side, 0..1."""

    kind: str
    colour: str
    word: str
    say_colour: bool
    x: float
    y: float
    extent: float
    mirror: bool


@dataclass(frozen=True)
class Scene:
    """A page: things from back to front, where they stand, and what is said of the place."""

    things: tuple[Thing, ...]
    sky: str
    ground: str
    horizon: float
    building: bool
    say_sky: bool
    say_ground: bool
    opening: str


@cache
def _bounds(kind: str) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of a drawing in its own units."""
    image, label = Image.new("RGB", (400, 400)), Image.new("L", (400, 400))
    pen = Pen(ImageDraw.Draw(image), ImageDraw.Draw(label), 1, (200, 250), 100, False)
    DRAWINGS[kind](pen, (255, 255, 255))
    left, top, right, bottom = label.getbbox() or (0, 0, 400, 400)
    return (left - 200) / 100, (top - 250) / 100, (right - 200) / 100, (bottom - 250) / 100


def spoken_words(thing: ThingClass, kind: str) -> list[str]:
    """What captions call a thing of this kind; repeats weigh.

    The class's name mostly means its typical kind, the first of its hyponyms; others are mostly
    called by their own, as people do (Jolicoeur, Gluck and Kosslyn 1984: from pictures to words).
    So who asks for "a bird" gets ducks, and few penguins.
    """
    own, name, synonym = (6, 18, 6) if kind == thing.hyponyms[0] else (24, 3, 1)
    return [kind] * own + [thing.name] * name + list(thing.synonyms) * synonym


def sample_scene(rng: np.random.Generator, kind: str | None = None) -> Scene:
    """Draw a scene: mostly one thing, sometimes two or three; classes are equally likely.

    Args:
        rng: the only source of randomness.
        kind: the hyponym of the first thing; drawn when None.
    """
    count = int(rng.choice([1, 2, 3], p=[0.64, 0.28, 0.08]))
    ground = str(rng.choice(list(GROUNDS), p=[0.24, 0.16, 0.14, 0.18, 0.14, 0.14]))
    sky = str(rng.choice(list(SKIES), p=[0.5, 0.2, 0.15, 0.15]))
    horizon = float(rng.uniform(0.4, 0.72))
    slots: dict[int, list[Placement]] = {
        1: [(0.5, 0.86, rng.uniform(0.68, 0.92))],
        2: [(0.27, 0.84, rng.uniform(0.44, 0.54)), (0.73, 0.84, rng.uniform(0.44, 0.54))],
        3: [
            (0.2, 0.62, rng.uniform(0.32, 0.38)),
            (0.8, 0.64, rng.uniform(0.32, 0.38)),
            (0.5, 0.95, rng.uniform(0.4, 0.46)),
        ],
    }
    spread = {1: 0.07, 2: 0.03, 3: 0.03}[count]
    order = rng.permutation(len(PAGE_CLASSES))[:count]
    things = []
    for position, (index, (x, y, extent)) in enumerate(zip(order, slots[count], strict=True)):
        thing = PAGE_CLASSES[index]
        chosen = str(rng.choice(thing.hyponyms))
        if position == 0 and kind is not None:
            chosen = kind
            thing = PAGE_CLASSES[page_class_of(kind) - 1]
        words = spoken_words(thing, chosen)
        things.append(
            Thing(
                kind=chosen,
                colour=str(rng.choice(TYPICAL_COLOURS[chosen])),
                word=str(rng.choice(words)),
                say_colour=bool(rng.random() < 0.4),
                x=float(x + rng.uniform(-spread, spread)),
                y=float(y + rng.uniform(-0.05, 0.05)),
                extent=float(extent),
                mirror=bool(rng.random() < 0.5),
            )
        )
    if kind is not None and len({page_class_of(t.kind) for t in things}) < len(things):
        things = things[:1]
    return Scene(
        things=tuple(things),
        sky=sky,
        ground=ground,
        horizon=horizon,
        building=bool(ground in ("road", "grass") and rng.random() < 0.2),
        say_sky=bool(ground != "paper" and rng.random() < (0.25 if count == 1 else 0.1)),
        say_ground=bool(rng.random() < (0.7 if count < 3 else 0.4)),
        opening=str(rng.choice(["", "", "a picture of ", "a drawing of "])) if count < 3 else "",
    )


def gradient(top: RGB, bottom: RGB, height: int, width: int) -> np.ndarray:
    """A vertical blend, ``uint8 (height, width, 3)``."""
    ramp = np.linspace(0.0, 1.0, height)[:, None, None]
    rows = np.asarray(top) * (1 - ramp) + np.asarray(bottom) * ramp
    return np.broadcast_to(rows, (height, width, 3)).astype(np.uint8)


def background(scene: Scene, side: int) -> Image.Image:
    """Sky, ground and, if there is one, a pale building behind, ``side`` pixels square."""
    canvas = np.empty((side, side, 3), np.uint8)
    line = int(scene.horizon * side)
    if scene.ground == "paper":
        canvas[:] = gradient(*GROUNDS["paper"], side, side)
        return Image.fromarray(canvas)
    canvas[:line] = gradient(*SKIES[scene.sky], line, side)
    ground = gradient(*GROUNDS[scene.ground], side - line, side)
    if scene.sky == "dark":
        ground = (ground * 0.62).astype(np.uint8)
    canvas[line:] = ground
    image = Image.fromarray(canvas)
    if scene.building:
        draw = ImageDraw.Draw(image)
        top = max(0, line - side // 3)
        tone = tuple(int(0.82 * c) for c in SKIES[scene.sky][1])
        draw.rectangle((side // 10, top, side - side // 10, line), fill=tone)
        pane = tuple(int(0.9 * c) for c in tone)
        for x in range(side // 6, side - side // 5, side // 7):
            draw.rectangle((x, top + side // 16, x + side // 14, top + side // 7), fill=pane)
    return image


def downsample(image: Image.Image, label: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """The supersampled pair at final size: ``uint8 (64, 64, 3)`` and ``uint8 (64, 64)``."""
    half = SUPERSAMPLING // 2
    small = np.asarray(image.reduce(SUPERSAMPLING))
    return small, np.asarray(label)[half::SUPERSAMPLING, half::SUPERSAMPLING].copy()


def render(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scene.

    Returns:
        image ``uint8 (64, 64, 3)`` and label ``uint8 (64, 64)``: 0 background, 1..8 the class.
    """
    side = SIZE * SUPERSAMPLING
    image, label = background(scene, side), Image.new("L", (side, side))
    on_image, on_label = ImageDraw.Draw(image), ImageDraw.Draw(label)
    for thing in scene.things:
        left, top, right, bottom = _bounds(thing.kind)
        scale = thing.extent * side / max(right - left, bottom - top)
        scale = min(scale, 0.84 * thing.y * side / (bottom - top) * 1.12)
        value = page_class_of(thing.kind)
        middle = (left + right) / 2 * (-1 if thing.mirror else 1)
        origin = (thing.x * side - middle * scale, thing.y * side - bottom * scale)
        pen = Pen(on_image, on_label, value, origin, scale, thing.mirror)
        DRAWINGS[thing.kind](pen, COLOURS[thing.colour])
    return downsample(image, label)


def article(words: str) -> str:
    """``words`` with its indefinite article."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def caption(scene: Scene) -> str:
    """The scene in one short sentence, such as "a picture of a red car and an oak on grass"."""
    named = [
        article(f"{thing.colour} {thing.word}" if thing.say_colour else thing.word)
        for thing in scene.things
    ]
    text = named[0] if len(named) == 1 else ", ".join(named[:-1]) + " and " + named[-1]
    if scene.say_ground:
        text += f" on {scene.ground}" if scene.ground != "road" else " on a road"
    if scene.say_sky:
        text += f" under a {scene.sky} sky"
    if scene.building and len(scene.things) == 1:
        text += " by a building"
    return scene.opening + text
