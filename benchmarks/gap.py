"""Where the network of synthetic images falls behind the reference: at which things.

Both networks of a finished demo label fresh pages, whose things are known: their kinds, and how
many stand on a page. No class is twice on a page, so a thing's IoU is that of its class there,
counted over all pixels of the pages.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated

import cyclopts
import numpy as np
from cyclopts import Parameter

from benchmarks.record import RESULTS, Row, finish, what_ran
from storybook import page
from storybook.page import Scene, Thing
from storybook.vocabulary import PAGE_CLASSES, page_class_of
from tasks.segmenter import Segmenter

ROOT = Path(__file__).parents[1]
SEED = 920
"""Of the pages; no training or test set takes it."""
NETWORKS = {"synthetic": "models/segmenter", "reference": "models/reference"}

Group = Callable[[Scene, Thing], str]


def thing_ious(
    scenes: Sequence[Scene],
    truths: Sequence[np.ndarray],
    labels: Iterable[np.ndarray],
    group: Group,
) -> dict[str, tuple[int, float]]:
    """Group of things -> how many there are, and their IoU.

    Args:
        scenes: what is on each page.
        truths, labels: ``uint8 (H, W)`` of each, label values of storybook's pages.
        group: the name of a thing's group.
    """
    counts: dict[str, np.ndarray] = {}
    for scene, truth, label in zip(scenes, truths, labels, strict=True):
        for thing in scene.things:
            value = page_class_of(thing.kind)
            there, said = truth == value, label == value
            found = [1, np.sum(there & said), np.sum(there | said)]
            name = group(scene, thing)
            counts[name] = counts.get(name, 0) + np.array(found)
    return {name: (int(n), float(both / either)) for name, (n, both, either) in counts.items()}


def by_number(scene: Scene, _: Thing) -> str:
    """Things on its page."""
    return f"of {len(scene.things)} on a page"


def by_kind(_: Scene, thing: Thing) -> str:
    """Its kind, and the class."""
    return f"{thing.kind} ({PAGE_CLASSES[page_class_of(thing.kind) - 1].name})"


def main(
    *,
    run: Annotated[Path, Parameter(help="the folder of a finished storybook run")] = ROOT,
    pages: Annotated[int, Parameter(help="pages that are labelled")] = 1000,
    quick: Annotated[bool, Parameter(help="few pages; writes no result")] = False,
) -> None:
    """Compare the two networks' IoU by the number of things on a page, and by their kind."""
    if missing := [folder for folder in NETWORKS.values() if not (run / folder).exists()]:
        raise SystemExit(f"{run}: {' and '.join(missing)} missing; run `make demo` before")
    scenes = [
        page.sample_scene(np.random.default_rng((SEED, number)))
        for number in range(20 if quick else pages)
    ]
    images, truths = zip(*map(page.render, scenes), strict=True)
    labels = {
        name: list(Segmenter(run / folder).label(iter(images))) for name, folder in NETWORKS.items()
    }
    rows: list[Row] = []
    for group in (by_number, by_kind):
        found = {name: thing_ious(scenes, truths, each, group) for name, each in labels.items()}
        some: list[Row] = [
            {
                "things": name,
                "number": number,
                "synthetic": round(ours, 3),
                "reference": round(theirs, 3),
                "share": round(ours / theirs, 3),
            }
            for name, (number, ours) in found["synthetic"].items()
            for _, theirs in [found["reference"][name]]
        ]
        rows += sorted(some, key=lambda row: row["share"], reverse=True)
    ran = what_ran(pages=f"{len(scenes)} fresh ones", seeds=f"{SEED}, of the pages")
    finish("gap", ran, rows, [], None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
