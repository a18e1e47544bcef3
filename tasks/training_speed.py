"""How fast a segmentation network trains and labels, and what memory that takes.

Measured by a benchmark of this repository, or published; what neither knows is None. Imports no
torch.
"""

import re

from tasks.machine import is_storybook_network
from tasks.params import Params, TrainSegmenter
from tasks.throughput import SD1_PIXELS, SD1_STEPS, Figure, benchmark, is_storybook, known_gpu

MMSEG = "published: MMSegmentation 0.x, docs/en/model_zoo.md, DeepLabV3+ R-101 on V100s, float32"
MMSEG_CROPS = 2 * (1024 * 512) / SD1_PIXELS / 0.85
"""512x512 crops that a V100 trains on in a second: 2 of 1024x512 in 0.85 s."""
MMSEG_MEMORY = {21: {50: 7.6e9 / 4, 101: 11e9 / 4}, 150: {50: 10.6e9 / 4, 101: 14.1e9 / 4}}
"""Label values -> depth of the ResNet -> bytes for a 512x512 crop of 4 (VOC's and ADE20K's rows of
configs/deeplabv3plus/README.md). With more label values than 150, nothing is known."""
MMSEG_LABELLED = {50: 21.0, 101: 13.88}
"""Depth of the ResNet -> 512x512 images that a V100 labels in a second (same place, the slower of
the two rows)."""
LABELLED = "published: MMSegmentation 0.x, DeepLabV3+ on a V100"
DEMO_ITERATIONS, DEMO_BATCH = 1500, 16
"""Of the demo's trainings."""


def training_seconds(section: TrainSegmenter, device: str, alone: bool = False) -> Figure | None:
    """Seconds an iteration takes.

    Args:
        alone: of one network on plain labels, as the reference is trained.
    """
    one, two = (
        benchmark("training_step", {"what": f"training step, {method}"}, "ms a batch")
        for method in ("weighted", "co_training")
    )
    if one is None or two is None:
        return None
    told = two if networks(section, alone) == 2 else one
    if device == "cpu":
        if not is_storybook_network(section):
            return None
        return Figure(told.value / 1000 * section.batch_size / 16, told.basis)
    if not _published(section, device):
        return None
    seconds = section.batch_size / MMSEG_CROPS * told.value / one.value
    return Figure(seconds, f"at most; {MMSEG}")


def whole_training(params: Params, device: str, held_out: float, alone: bool) -> Figure | None:
    """Seconds of a training with its validations; without them, where their speed is not known.

    Args:
        held_out: images of each validation.
        alone: see `training_seconds`.
    """
    section = params.train_segmenter
    if device == "cpu" and is_storybook(params.sample_images) and is_storybook_network(section):
        stage = "train_segmenter" if networks(section, alone) == 2 else "train_reference"
        told = benchmark("demo", {"what": stage}, "seconds")
        work = section.iterations / DEMO_ITERATIONS * section.batch_size / DEMO_BATCH
        return told and Figure(told.value * work, told.basis)
    step = training_seconds(section, device, alone)
    if step is None:
        return None
    seconds = section.iterations * step.value
    if not held_out:
        return Figure(seconds, step.basis)
    each = labelling_seconds(params, device, alone)
    if each is None:
        return Figure(seconds, f"{step.basis}; without validation")
    validations = -(-section.iterations // section.checkpoint_interval)
    return Figure(
        seconds + validations * held_out * each.value, f"{step.basis}; validation: {each.basis}"
    )


def labelling_seconds(params: Params, device: str, alone: bool = False) -> Figure | None:
    """Seconds in which a training's network labels an image of the size that is sampled."""
    section, sampling = params.train_segmenter, params.sample_images
    depth, labels = _depth(section), len(params.expand_prompts.label_names)
    if depth is None or not _published(section, device) or labels > max(MMSEG_MEMORY):
        return None
    work = networks(section, alone) * sampling.height * sampling.width / SD1_PIXELS
    return Figure(work / MMSEG_LABELLED[depth], LABELLED)


def training_memory(section: TrainSegmenter, labels: int) -> Figure | None:
    """Bytes that a training takes on a GPU.

    Args:
        labels: label values that the network tells apart.
    """
    depth = _depth(section)
    known = next((most for most in sorted(MMSEG_MEMORY) if labels <= most), None)
    if depth is None or known is None:
        return None
    crops = section.batch_size * networks(section)
    return Figure(
        MMSEG_MEMORY[known][depth] * crops, "at most; published: MMSegmentation, DeepLabV3+"
    )


def networks(section: TrainSegmenter, alone: bool = False) -> int:
    """How many are trained together; ``alone``: by the reference."""
    return 2 if section.reliability == "co_training" and not alone else 1


def _published(section: TrainSegmenter, device: str) -> bool:
    """Whether figures of a V100 hold at most for this GPU and network."""
    gpu = known_gpu(device)
    return gpu is not None and SD1_STEPS[gpu] >= SD1_STEPS["V100"] and _depth(section) is not None


def _depth(section: TrainSegmenter) -> int | None:
    """Of the ResNet of a DeepLabV3+ for crops of 512x512."""
    found = re.search(r"deeplabv3plus_r(50|101)-d8_.*-512x512", section.config)
    return int(found[1]) if found else None
