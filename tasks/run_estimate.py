"""What a configured run takes: time, memory and disk of each stage, and where figures come from.

From `tasks.throughput` and `tasks.training_speed`, scaled by images, pixels, steps and guidance.
What is not known is None and is never guessed. Imports no torch.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tasks.input_checks import Inputs
from tasks.labelled_sets import inside_storybook
from tasks.machine import mask_bytes, networks_bytes, sample_bytes
from tasks.params import Params
from tasks.throughput import (
    DEMO_IMAGES,
    SD1_MEMORY,
    SD1_MEMORY_BASIS,
    SD1_PIXELS,
    Figure,
    benchmark,
    is_sd1,
    is_storybook,
    read_measured,
    sampling_seconds,
)
from tasks.training_speed import training_memory, training_seconds, whole_training

GIB = 2**30
DEMO_SCENES, DEMO_TEST = 1600, 300
"""Images that the demo renders and measures on."""
REFINED = {"none": "upsample", "guided": "guided", "crf": "crf"}
"""``extract_masks.refine`` -> its recipe in benchmarks/results/refinement.json."""


@dataclass(frozen=True)
class Cost:
    """What a stage takes.

    Attributes:
        stage: its name.
        seconds: its time; None where nothing tells it. 0 where the stage has nothing to do.
        memory: peak in bytes of the device it computes on, or None.
        disk: bytes at most, in the work store and DVC's cache, or None for next to nothing.
        basis: where the figures come from.
    """

    stage: str
    seconds: float | None
    memory: float | None = None
    disk: int | None = None
    basis: str = ""


@dataclass(frozen=True)
class Run:
    """What the costs depend on.

    Attributes:
        params, found: the parameters and what they name.
        device: what sampling runs on: ``cpu`` or a GPU's name.
        trainer: what training runs on.
    """

    params: Params
    found: Inputs
    device: str
    trainer: str

    @property
    def images(self) -> int:
        """How many are sampled."""
        section = self.params.expand_prompts
        return section.images_per_class * len(section.classes)

    @property
    def labels(self) -> int:
        """Label values that the network tells apart."""
        return len(self.params.expand_prompts.label_names)

    @property
    def demo(self) -> bool:
        """Whether this is the embedded world's size, for which `benchmarks.demo` speaks."""
        return is_storybook(self.params.sample_images)

    @property
    def small_memory(self) -> Figure | None:
        """The peak of the demo, in bytes, where this is one."""
        told = benchmark("demo", {"name": "peak memory, GiB"}, "value") if self.demo else None
        return told and Figure(told.value * GIB, told.basis)


def estimate(run: Run) -> list[Cost]:
    """The cost of each stage, in running order."""
    return [cost(run) for cost in COSTS]


def _cost(
    stage: str,
    seconds: Figure | None,
    times: float = 1.0,
    memory: Figure | None = None,
    disk: int | None = None,
) -> Cost:
    bases = dict.fromkeys(figure.basis for figure in (seconds, memory) if figure)
    return Cost(
        stage,
        seconds.value * times if seconds else None,
        memory.value if memory else None,
        disk,
        "; ".join(bases),
    )


def _render(run: Run) -> Cost:
    section = run.params.render_storybook
    if section.domain == "none":
        return Cost("render_storybook", 0, basis="off")
    told = benchmark("demo", {"what": "render_storybook"}, "seconds")
    scenes = section.train + section.val + section.test
    return _cost("render_storybook", told, scenes / DEMO_SCENES)


def _prompts(run: Run) -> Cost:
    told = benchmark("prompts", {"what": "1,000,791 prompts"}, "seconds")
    return _cost("expand_prompts", told, run.images / 1_000_791)


def _lora(run: Run) -> Cost:
    section, sampling = run.params.adapt_lora, run.params.sample_images
    if section.adapter != "train":
        return Cost("adapt_lora", 0, basis="off")
    if run.device != "cpu":
        return Cost("adapt_lora", None)
    if run.demo:
        where, rows, pixels = {"model": "storybook", "way": "adapt_lora"}, 16, 64 * 64
    elif is_sd1(sampling, run.found.model):
        where, rows, pixels = {"model": "SD1.5", "way": "adapt_lora"}, 1, 256 * 256
    else:
        return Cost("adapt_lora", None)
    told = benchmark("lora_step", where, "seconds per step")
    peak = benchmark("lora_step", where, "peak GiB")
    work = section.rows / rows * sampling.height * sampling.width / pixels
    memory = peak and Figure(peak.value * GIB, peak.basis)
    return _cost("adapt_lora", told, section.steps * work, memory)


def _sample(run: Run) -> Cost:
    section = run.params.sample_images
    told = sampling_seconds(section, run.found.model, run.device, run.found.root)
    disk = 2 * run.images * sample_bytes(run.params)
    here = [one for one in read_measured(run.found.root) if one.fits(section, run.device)]
    if here:
        memory: Figure | None = Figure(here[-1].memory, "measured here")
    elif run.device != "cpu" and is_sd1(section, run.found.model):
        memory = Figure(SD1_MEMORY, SD1_MEMORY_BASIS)
    else:
        memory = run.small_memory
    return _cost("sample_images", told, run.images, memory, disk)


def _masks(run: Run) -> Cost:
    section, sampling = run.params.extract_masks, run.params.sample_images
    disk = 2 * run.images * mask_bytes(run.params)
    pixels = sampling.height * sampling.width
    if run.demo and section.method in ("attn2mask", "averaged"):
        told = benchmark("demo", {"what": "extract_masks"}, "seconds")
        return _cost("extract_masks", told, run.images / DEMO_IMAGES, run.small_memory, disk)
    if section.method in ("self_attention", "diffumask"):  # measured at storybook's size only
        recipe: dict[str, str] = {"method": section.method, "refine": section.refine}
        told = benchmark("mask_quality", recipe, "masks, ms per image")
        return _cost("extract_masks", told, run.images / 1000 * pixels / 64**2, None, disk)
    speed = benchmark(
        "refinement", {"pictures": "reporting", "recipe": REFINED[section.refine]}, "images/s"
    )
    seconds = speed and Figure(1 / speed.value, f"{speed.basis}, one core")
    work = run.images * pixels / SD1_PIXELS
    return _cost("extract_masks", seconds, work, run.small_memory, disk)


def _scores(run: Run) -> Cost:
    section, sampling = run.params.score_masks, run.params.sample_images
    speed = benchmark("filtering", {"name": "images/s hashed"}, "value")
    if speed is None or section.similarity.model != "none":  # its network was never timed
        return Cost("score_masks", None)
    work = run.images * sampling.height * sampling.width / SD1_PIXELS
    validation = section.cross_validation
    seconds, basis = work / speed.value, speed.basis
    if validation.folds:
        step = training_seconds(run.params.train_segmenter, run.trainer, alone=True)
        if step is None:
            return Cost("score_masks", None)
        seconds += validation.folds * validation.iterations * step.value
        basis = f"{basis}; {step.basis}"
    return Cost("score_masks", seconds, basis=basis)


def _filter(run: Run) -> Cost:
    told = benchmark("filtering", {"name": "seconds to decide upon 100,000 rows"}, "value")
    return _cost("filter_masks", told, run.images / 100_000)


def _train(run: Run) -> Cost:
    section = run.params.train_segmenter
    held_out = run.images * run.params.filter_masks.val_share
    told = whole_training(run.params, run.trainer, held_out, alone=False)
    memory = run.small_memory if run.trainer == "cpu" else training_memory(section, run.labels)
    return _cost("train_segmenter", told, memory=memory, disk=networks_bytes(run.params))


def _reference(run: Run) -> Cost:
    labelled_set = run.params.train_reference.labelled_set
    if labelled_set == "none":
        return Cost("train_reference", 0, basis="off")
    section = run.params.train_segmenter
    inside = inside_storybook(labelled_set, run.found.root)
    held_out = run.params.render_storybook.val if inside is not None else 0
    told = whole_training(run.params, run.trainer, held_out, alone=True)
    memory = run.small_memory
    if run.trainer != "cpu":
        memory = training_memory(section.model_copy(update={"reliability": "none"}), run.labels)
    return _cost("train_reference", told, memory=memory)


def _evaluate(run: Run) -> Cost:
    test_set = run.params.evaluate_segmenter.test_set
    if test_set == "none":
        return Cost("evaluate_segmenter", 0, basis="off")
    if run.trainer != "cpu" or not inside_storybook(test_set, run.found.root):
        return Cost("evaluate_segmenter", None)
    told = benchmark("demo", {"what": "evaluate_segmenter"}, "seconds")
    return _cost("evaluate_segmenter", told, run.params.render_storybook.test / DEMO_TEST)


def _report(run: Run) -> Cost:
    if run.demo:
        told = benchmark("demo", {"what": "write_report"}, "seconds")
        return _cost("write_report", told, run.images / DEMO_IMAGES)
    told = benchmark("report", {"samples": "100000"}, "build, CPU s")
    peak = benchmark("report", {"samples": "100000"}, "peak GiB")
    memory = peak and Figure(peak.value * GIB, peak.basis)
    shown = min(run.params.write_report.gallery, run.images)
    return _cost("write_report", told, max(shown / 2000, run.images / 100_000), memory)


COSTS: tuple[Callable[[Run], Cost], ...] = (
    _render,
    _prompts,
    _lora,
    _sample,
    _masks,
    _scores,
    _filter,
    _train,
    _reference,
    _evaluate,
    _report,
)


def total(costs: list[Cost]) -> Cost:
    """All stages together: the sum of what is known, and the largest memory."""
    unknown = [cost.stage for cost in costs if cost.seconds is None]
    basis = f"without {', '.join(unknown)}: not known" if unknown else ""
    memory = max((cost.memory for cost in costs if cost.memory), default=None)
    return Cost(
        "together",
        sum(cost.seconds or 0 for cost in costs),
        memory,
        sum(cost.disk or 0 for cost in costs),
        basis,
    )


def device_names(params: Params, gpu: str | None) -> tuple[str, str]:
    """What sampling and training would run on.

    ``cpu``, a GPU's name, or ``cuda`` for a GPU that is asked for and not here.

    Args:
        gpu: a name to reckon with in place of what is here, such as A100.
    """
    asked = (params.sample_images.device, params.train_segmenter.device)
    if gpu is None:
        import torch  # two seconds to import

        if torch.cuda.is_available():
            gpu = torch.cuda.get_device_name()
    first, second = (
        "cpu" if device == "cpu" or (device == "auto" and not gpu) else gpu or "cuda"
        for device in asked
    )
    return first, second
