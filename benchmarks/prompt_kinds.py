"""Which kinds of a class its prompts show: by class names alone, with synonyms and hyponyms.

It tells why the second rung of ``presets/compare/ladder.yaml`` gains what it gains. A classifier
trained on drawn pages of one thing names the kind in each sampled image. The number of kinds that a
class shows is the exponential of the entropy of their shares: 3 for three kinds that are equally
frequent.
"""

import logging
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import cyclopts
import numpy as np
import torch
from cyclopts import Parameter
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from storybook import page
from storybook.base_model.corpus import to_tensor
from storybook.vocabulary import PAGE_CLASSES
from tasks.params import Params, load_params
from tasks.pipelines import load_pipeline
from tasks.progress import progress
from tasks.prompts import expand
from tasks.sampling import sample_batch

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[1]
KINDS = [kind for thing in PAGE_CLASSES for kind in thing.hyponyms]
TRAINING, TEST, PROMPTS = 910, 911, 303
"""Seeds: of the classifier's pages, of those it is tested on, of the prompts and their noise."""
LEAST_ACCURACY = 0.9


def drawn_things(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pages of one thing, ``float32 (count, 3, 64, 64)`` in -1..1, and their kinds ``(count,)``."""
    images, kinds = [], []
    for index in range(count):
        rng, kind = np.random.default_rng((seed, index)), index % len(KINDS)
        scene = page.sample_scene(rng, KINDS[kind])
        while len(scene.things) > 1:
            scene = page.sample_scene(rng, KINDS[kind])
        images.append(page.render(scene)[0])
        kinds.append(kind)
    return to_tensor(np.stack(images)), torch.tensor(kinds)


def train_classifier(images: Tensor, kinds: Tensor, steps: int) -> nn.Module:
    """A small convolutional network: images to logits over `KINDS`."""
    torch.manual_seed(TRAINING)
    widths = (3, 24, 48, 96, 128)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], len(KINDS))]
    network = nn.Sequential(*layers, *head)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    with progress("classifier", steps, "steps") as advance:
        for step in range(steps):
            chosen = torch.randint(len(images), (32,))
            x = images[chosen]
            if step % 2:  # samples are smoother than drawings
                x = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
            loss = functional.cross_entropy(network(x), kinds[chosen])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            advance(1)
    return network.eval()


@torch.no_grad()
def classify(network: nn.Module, images: Tensor) -> Tensor:
    """Positions in `KINDS`, ``int64 (N,)``."""
    return torch.cat([network(part).argmax(1) for part in images.split(64)])


def sample(params: Params) -> tuple[Tensor, list[str]]:
    """The images of all prompts, as `drawn_things` gives them, and the class that each is of."""
    rows = list(expand(params.expand_prompts))
    pipeline = load_pipeline(params.sample_images, "cpu")
    images = []
    with progress("sampling", len(rows), "images") as advance:
        for first in range(0, len(rows), params.sample_images.batch_size):
            part = rows[first : first + params.sample_images.batch_size]
            images.append(sample_batch(pipeline, params.sample_images, part)[0])
            advance(len(part))
    return to_tensor(np.concatenate(images)), [row["classes"][0]["name"] for row in rows]


def effective_kinds(kinds: Tensor) -> float:
    """exp(H) of the shares of the kinds in ``int64 (N,)``: how many are shown, by how often."""
    if not len(kinds):
        return 0.0
    shares = torch.bincount(kinds).double() / len(kinds)
    return float(torch.exp(-(shares[shares > 0] * shares[shares > 0].log()).sum()))


def main(
    *,
    per_class: Annotated[int, Parameter(help="images for each class and way to name it")] = 45,
    quick: Annotated[bool, Parameter(help="few images; writes no result")] = False,
) -> None:
    """How many kinds of each class are shown when it is named in either way."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    pages, steps = (240, 2) if quick else (6000, 700)
    per_class = 2 if quick else per_class
    network = train_classifier(*drawn_things(pages, TRAINING), steps)
    images, kinds = drawn_things(pages // 10, TEST)
    accuracy = float((classify(network, images) == kinds).float().mean())

    params = load_params(ROOT / "presets/storybook.yaml")
    sampling = params.sample_images.model_dump()
    sampling["model"] = str(ROOT / params.sample_images.model)
    if quick:
        sampling["num_inference_steps"] = 2
    shown: dict[str, dict[str, Tensor]] = {}
    for words, shares in {
        "class names": {"plain": 1.0, "synonym": 0.0, "hyponym": 0.0},
        "synonyms and hyponyms": params.expand_prompts.shares.model_dump(),
    }.items():
        prompts = params.expand_prompts.model_dump() | {"shares": shares, "seed": PROMPTS}
        prompts |= {"images_per_class": per_class, "several_share": 0.0}
        sections = {"sample_images": sampling, "expand_prompts": prompts}
        images, names = sample(Params.model_validate(params.model_dump() | sections))
        found = classify(network, images)
        shown[words] = {
            thing.name: found[[name == thing.name for name in names]] for thing in PAGE_CLASSES
        }
    rows: list[Row] = []
    for number, thing in enumerate(PAGE_CLASSES):
        row: Row = {"class": thing.name, "kinds": ", ".join(thing.hyponyms)}
        own = range(3 * number, 3 * number + 3)
        for words, by_class in shown.items():
            kinds = by_class[thing.name]
            right = torch.isin(kinds, torch.tensor(own))
            row[f"{words}: kinds shown"] = round(effective_kinds(kinds[right]), 2)
            row[f"{words}: of the class"] = round(float(right.float().mean()), 2)
        rows.append(row)
    bars = [Bar.at_least("accuracy of the classifier", accuracy, 0 if quick else LEAST_ACCURACY, 4)]
    ran = what_ran(
        images=f"{per_class} for each class and way, one thing each",
        seeds=f"prompts and noise {PROMPTS}, classifier {TRAINING}, its test {TEST}",
    )
    finish("prompt_kinds", ran, rows, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
