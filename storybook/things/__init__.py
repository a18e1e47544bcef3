"""How each thing is drawn: one function an outline, in unit coordinates.

A drawing function gets a `Pen` and a main colour. x runs from -1 (back) to 1 (front), y from 0
(where it stands) to -1 upwards at most about 1.6; the pen scales, mirrors and places it, and keeps
the label map exact by drawing every stroke there too.
"""

from collections.abc import Callable

from storybook.things import animals, houses, plants, vehicles
from storybook.things.pen import Pen
from storybook.vocabulary import RGB

DRAWINGS: dict[str, Callable[[Pen, RGB], None]] = {
    drawing.__name__: drawing
    for drawing in (
        vehicles.sedan, vehicles.minivan, vehicles.convertible,
        vehicles.sailboat, vehicles.steamboat, vehicles.canoe,
        plants.oak, plants.pine, plants.palm,
        houses.cottage, houses.mansion, houses.chalet,
        animals.duck, animals.owl, animals.penguin,
        animals.goldfish, animals.shark, animals.puffer,
        animals.dachshund, animals.poodle, animals.dalmatian,
        plants.daisy, plants.sunflower, plants.poppy,
    )
}  # fmt: skip
"""Hyponym -> how it is drawn."""
