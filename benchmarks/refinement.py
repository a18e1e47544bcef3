"""What refinement by the image gains on real pictures, and what it costs: guided filter, dense CRF.

True masks of PASCAL VOC are damaged into coarse class maps such as attention gives: 16x16 cells,
blurred, shifted, with noise. A recipe enlarges them to the image, adds the background channel of
`tasks.mask_methods`, refines, and takes the best class. Its own parameters and the background's
beta are chosen on the first pictures, its numbers are those of the others. The CRF keeps the
customary weights; its beta is chosen too.

IoU is the field's mean IoU: intersection over union counted over all pixels of a set, void (255)
left out, then the mean over the classes that occur, background among them. Beside it stands the
mean over pictures of each picture's own mean IoU. Speed is of the whole recipe on one core, from
coarse maps to labels, picture by picture: the median of alternating rounds.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import torch
from cyclopts import Parameter
from torch import Tensor

from benchmarks.damaged_masks import BLUR, CELLS, NOISE, SHIFT, SIDE, VOC, Picture, read_pictures
from benchmarks.record import RESULTS, Bar, Row, finish, need_crf, what_ran
from tasks.iou import confusion_matrix, iou_per_class, mean_iou
from tasks.mask_methods import with_background
from tasks.progress import progress
from tasks.refine import dense_crf, guided_filter

CLASS_COUNT = 21
CHOOSING = 40
"""Pictures to choose on, the first by id; the others report."""
BETAS = (0.2, 0.3, 0.4, 0.5)
SUBSAMPLE = 8
RADII, EPSILONS, ITERATIONS = (32, 48, 64), (1e-5, 1e-4), (1, 4)
CRF: dict[str, Any] = {
    "iterations": 5,
    "bilateral_weight": 10.0,
    "bilateral_xy": 80.0,
    "bilateral_rgb": 13.0,
    "gaussian_weight": 3.0,
    "gaussian_xy": 3.0,
}
TIMED_PICTURES, ROUNDS = 8, 7

Refine = Callable[[np.ndarray, Tensor], Tensor]
"""Image ``uint8 (H, W, 3)`` and class stack ``(1, C, H, W)`` to the refined stack."""


@dataclass(frozen=True)
class Recipe:
    """A way to refine, with its settings as the table names them."""

    name: str
    settings: str
    refine: Refine

    def label(self, picture: Picture, beta: float) -> np.ndarray:
        """The label map, ``uint8 (H, W)``."""
        height, width = picture.truth.shape
        stack = with_background([picture.maps], (height, width), beta)
        # On a CPU argmax is far slower over a leading dimension than max.
        channel = self.refine(picture.image, stack)[0].max(0).indices
        return np.take(picture.classes, channel.numpy())


@dataclass(frozen=True)
class Scores:
    """A recipe's IoU on a set of pictures, 0..1."""

    recipe: Recipe
    beta: float
    miou: float
    per_picture: float


def upsample_only(_image: np.ndarray, stack: Tensor) -> Tensor:
    """No refinement: the stack is enlarged already."""
    return stack


def guided(
    image: np.ndarray, stack: Tensor, radius: int, epsilon: float, iterations: int
) -> Tensor:
    """`guided_filter` on an image of 8 bits."""
    guide = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    return guided_filter(guide, stack, radius, epsilon, SUBSAMPLE, iterations)


def crf(image: np.ndarray, stack: Tensor) -> Tensor:
    """`dense_crf` with the customary weights."""
    return dense_crf(image[None], stack, **CRF)


def recipes() -> list[Recipe]:
    """All that are compared: a few settings of the guided filter, one of each other."""
    return [
        Recipe("upsample", "bilinear", upsample_only),
        *(
            Recipe(
                "guided",
                f"radius {radius}, epsilon {epsilon:g}, passes {iterations}",
                partial(guided, radius=radius, epsilon=epsilon, iterations=iterations),
            )
            for radius, epsilon, iterations in itertools.product(RADII, EPSILONS, ITERATIONS)
        ),
        Recipe("crf", "customary", crf),
    ]


def score(pictures: Sequence[Picture], pairs: Sequence[tuple[Recipe, float]]) -> list[Scores]:
    """Every pair of recipe and beta on the same pictures."""
    confusions = np.zeros((len(pairs), len(pictures), CLASS_COUNT, CLASS_COUNT), np.int64)
    with progress("refinement", len(pictures), "pictures") as advance:
        for at, picture in enumerate(pictures):
            for number, (recipe, beta) in enumerate(pairs):
                label = recipe.label(picture, beta)
                confusions[number, at] = confusion_matrix(picture.truth, label, CLASS_COUNT)
            advance(1)
    return [
        Scores(
            recipe,
            beta,
            mean_iou(iou_per_class(each.sum(0))),
            statistics.mean(mean_iou(iou_per_class(one)) for one in each),
        )
        for (recipe, beta), each in zip(pairs, confusions, strict=True)
    ]


def best_of_each(scores: Sequence[Scores], key: Callable[[Scores], str]) -> list[Scores]:
    """The score with the highest mean IoU of each kind, in the order in which kinds appear."""
    kinds = dict.fromkeys(map(key, scores))
    return [
        max((one for one in scores if key(one) == kind), key=lambda one: one.miou) for kind in kinds
    ]


def images_per_second(
    pictures: Sequence[Picture], chosen: Sequence[Scores], rounds: int
) -> list[float]:
    """Of each recipe: the median over rounds, in each of which all recipes take turns."""
    seconds: list[list[float]] = [[] for _ in chosen]
    for _ in range(rounds):
        for number, one in enumerate(chosen):
            started = time.perf_counter()
            for picture in pictures:
                one.recipe.label(picture, one.beta)
            seconds[number].append(time.perf_counter() - started)
    return [len(pictures) / statistics.median(each) for each in seconds]


def row(pictures: str, one: Scores, speed: float | str) -> Row:
    """A row of the table."""
    return {
        "pictures": pictures,
        "recipe": one.recipe.name,
        "settings": one.recipe.settings,
        "beta": one.beta,
        "mean IoU": round(one.miou, 4),
        "mean IoU by picture": round(one.per_picture, 4),
        "images/s": speed if isinstance(speed, str) else round(speed, 2),
    }


def measure(pictures: Sequence[Picture], choosing: int, rounds: int) -> tuple[list[Row], list[Bar]]:
    """Choose on the first ``choosing`` pictures, report on the rest: the rows and the bars."""
    known, unseen = pictures[:choosing], pictures[choosing:]
    tried = score(known, list(itertools.product(recipes(), BETAS)))
    settings = best_of_each(tried, lambda one: one.recipe.name + one.recipe.settings)
    chosen = best_of_each(settings, lambda one: one.recipe.name)
    reported = score(unseen, [(one.recipe, one.beta) for one in chosen])
    speeds = images_per_second(unseen[:TIMED_PICTURES], chosen, rounds)
    rows = [row(f"choosing, {len(known)}", one, "") for one in settings]
    rows += [
        row(f"reporting, {len(unseen)}", one, speed)
        for one, speed in zip(reported, speeds, strict=True)
    ]
    miou = {one.recipe.name: one.miou for one in reported}
    speed = {one.recipe.name: each for one, each in zip(reported, speeds, strict=True)}
    return rows, [
        Bar.at_least("guided: gain over upsample", miou["guided"] - miou["upsample"], 0.05, 4),
        Bar.at_least("guided: IoU less the crf's", miou["guided"] - miou["crf"], -0.02, 4),
        Bar.at_least("guided: speed over crf's", speed["guided"] / speed["crf"], 5, 2),
    ]


def main(
    *,
    data: Annotated[Path, Parameter(help="pictures and masks in VOC's layout, with ids.txt")] = VOC,
    quick: Annotated[bool, Parameter(help="four pictures, one round; writes no result")] = False,
) -> None:
    """IoU and speed of refinement on real pictures with damaged true masks."""
    need_crf()
    if not (data / "ids.txt").is_file():
        raise SystemExit(f"refinement: no ids.txt in {data}; name a folder of pictures with --data")
    count, choosing, rounds = (4, 2, 1) if quick else (None, CHOOSING, ROUNDS)
    with ExitStack() as after:
        after.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(1)
        pictures = list(itertools.islice(read_pictures(data), count))
        rows, bars = measure(pictures, choosing, rounds)
    ran = what_ran(
        pictures=f"{len(pictures)} of PASCAL VOC 2012 at {SIDE}x{SIDE}",
        damage=f"{CELLS}x{CELLS} cells, blur of {BLUR} cells (standard deviation), shift up to "
        f"{SHIFT} cells each way, noise of {NOISE} (standard deviation)",
        seeds="the picture's place in the order of ids, from 0",
        chosen=f"on the first {choosing} pictures: settings and beta of each recipe, by mean IoU",
        guided=f"subsample {SUBSAMPLE}",
        crf=f"pydensecrf2 {version('pydensecrf2')}, "
        + ", ".join(f"{key} {value:g}" for key, value in CRF.items()),
        rounds=f"{rounds}, alternating, {TIMED_PICTURES} reporting pictures, one thread",
    )
    finish("refinement", ran, rows, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
