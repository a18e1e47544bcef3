"""The words of storybook: classes, what they are called, the colours and the places.

Everything that can be drawn or said is listed here, so that the renderer, the captions, the
tokenizer and the built-in lexicon speak of the same things.
"""

from dataclasses import dataclass

import numpy as np

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class ThingClass:
    """A foreground class: its name, synonyms (same look) and hyponyms (each its own outline)."""

    name: str
    synonyms: tuple[str, ...]
    hyponyms: tuple[str, ...]


PAGE_CLASSES: tuple[ThingClass, ...] = (
    ThingClass("car", ("auto", "automobile"), ("sedan", "minivan", "convertible")),
    ThingClass("boat", (), ("sailboat", "steamboat", "canoe")),
    ThingClass("tree", (), ("oak", "pine", "palm")),
    ThingClass("house", (), ("cottage", "mansion", "chalet")),
    ThingClass("bird", (), ("duck", "owl", "penguin")),
    ThingClass("fish", (), ("goldfish", "shark", "puffer")),
    ThingClass("dog", ("domestic dog",), ("dachshund", "poodle", "dalmatian")),
    ThingClass("flower", ("bloom", "blossom"), ("daisy", "sunflower", "poppy")),
)
"""Label value of a page class = its position here + 1; 0 is the background."""

STREET_CLASSES: tuple[str, ...] = ("road", "sky", "building", "tree", "car", "grass")
"""Label value of a street class = its position here; every pixel belongs to one of them."""

CLASS_NAMES: dict[str, list[str]] = {
    "page": ["background", *(thing.name for thing in PAGE_CLASSES)],
    "street": list(STREET_CLASSES),
}
"""Domain -> class names by label value."""

LEAST_SHARE = 0.01
"""Of the image, from which on a class is said to be in it."""

COLOURS: dict[str, RGB] = {
    "red": (206, 48, 44),
    "orange": (238, 134, 38),
    "yellow": (240, 206, 60),
    "green": (70, 150, 66),
    "blue": (50, 96, 190),
    "purple": (128, 66, 158),
    "pink": (236, 130, 172),
    "brown": (128, 82, 48),
    "white": (240, 240, 236),
    "grey": (124, 128, 134),
}

TYPICAL_COLOURS: dict[str, tuple[str, ...]] = {
    "sedan": ("red", "blue", "green", "yellow", "white", "purple"),
    "minivan": ("blue", "green", "red", "white", "orange", "grey"),
    "convertible": ("red", "yellow", "pink", "blue", "green"),
    "sailboat": ("brown", "red", "blue", "white"),
    "steamboat": ("red", "blue", "white", "brown"),
    "canoe": ("brown", "orange", "red", "green"),
    "oak": ("green", "green", "orange"),
    "pine": ("green",),
    "palm": ("green",),
    "cottage": ("white", "yellow", "pink", "brown"),
    "mansion": ("white", "yellow", "grey", "pink"),
    "chalet": ("brown", "orange", "red"),
    "duck": ("yellow", "white", "brown"),
    "owl": ("brown", "grey", "purple"),
    "penguin": ("grey", "blue"),
    "goldfish": ("orange", "yellow", "red", "purple"),
    "shark": ("grey", "blue"),
    "puffer": ("yellow", "orange", "pink", "purple"),
    "dachshund": ("brown", "grey", "orange"),
    "poodle": ("white", "pink", "grey", "brown"),
    "dalmatian": ("white",),
    "daisy": ("white", "pink", "purple", "blue"),
    "sunflower": ("yellow", "orange"),
    "poppy": ("red", "pink", "orange", "purple"),
}
"""Colours a thing comes in when nothing else is asked for (repeats weigh)."""

SKIES: dict[str, tuple[RGB, RGB]] = {
    "blue": ((120, 178, 232), (196, 224, 244)),
    "pink": ((226, 160, 190), (250, 218, 206)),
    "grey": ((150, 158, 168), (204, 208, 212)),
    "dark": ((24, 28, 62), (62, 66, 110)),
}
"""Sky name -> colour at the top, colour at the horizon."""

GROUNDS: dict[str, tuple[RGB, RGB]] = {
    "grass": ((142, 190, 96), (108, 164, 74)),
    "sand": ((236, 216, 166), (222, 194, 136)),
    "snow": ((232, 238, 244), (250, 252, 254)),
    "water": ((92, 158, 200), (52, 116, 172)),
    "road": ((128, 128, 132), (98, 98, 104)),
    "paper": ((246, 238, 220), (240, 228, 204)),
}
"""Ground name -> colour at the horizon, colour at the bottom. ``paper`` fills the whole page."""


def classes_shown(label: np.ndarray, domain: str) -> list[str]:
    """The classes with more than `LEAST_SHARE` of a label map, in label order; no background."""
    names = CLASS_NAMES[domain]
    shares = np.bincount(label.ravel(), minlength=len(names)) / label.size
    return [
        name
        for name, share in zip(names, shares, strict=True)
        if share > LEAST_SHARE and name != "background"
    ]


def page_class_of(word: str) -> int:
    """Label value (1..8) of the class that ``word`` names, by any of its words."""
    for value, thing in enumerate(PAGE_CLASSES, start=1):
        if word == thing.name or word in thing.synonyms or word in thing.hyponyms:
            return value
    raise KeyError(f"{word!r} names no storybook class")
