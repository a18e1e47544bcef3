"""How fast the stages are, each figure with where it comes from.

Measured on this machine before, measured by a benchmark of this repository, or published: in this
order. What none of these knows is None.

Imports no torch.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.base_models import BaseModel
from tasks.durable import new_file
from tasks.params import SampleImages
from tasks.records import read_json

RESULTS = Path(__file__).parents[1] / "benchmarks/results"
MEASURED = Path(".maskloom/throughput.json")
"""What `tasks.doctor` has measured on this machine, newest last."""

SD1_PIXELS = 512 * 512
DIFFUSERS = "published: diffusers, docs/source/en/optimization/torch2.0.md, batch 4, float16"
SD1_STEPS = {"A100": 46.4, "4090": 50.48, "3090": 25.84, "V100": 23.84, "T4": 7.16}
"""GPU -> guided steps of one 512x512 image a second with Stable Diffusion 1.5: 4 x the iterations a
second of "SD - txt2img", PyTorch 2.0 without compilation."""
SD1_CHANNELS = (320, 640, 1280, 1280)
"""Of the UNets of Stable Diffusion 1.x and 2.x, which cost alike."""
SD1_MODELS = re.compile(r"stable-diffusion-(v1-|2)|stable-diffusion-v1|sd-?1|sd-?v1", re.I)
"""Ids of models of that shape, for one that is not here yet."""
SD1_MEMORY = 10e9
SD1_MEMORY_BASIS = "published: CompVis/stable-diffusion, README: a GPU of at least 10 GB"

DEMO_IMAGES, DEMO_STEPS, DEMO_PIXELS = 1200, 10, 64 * 64
"""What the demo samples."""


@dataclass(frozen=True)
class Figure:
    """A number and where it comes from."""

    value: float
    basis: str


@dataclass(frozen=True)
class Measured:
    """A sampling on this machine.

    Attributes:
        model, device, dtype, height, width, batch_size, guided: what was sampled, and on what.
        seconds_per_step: of one image.
        seconds_per_image: what does not depend on the number of steps: text, noise, decoding.
        memory: peak in bytes, of the GPU or else of the process.
        date: ISO 8601.
    """

    model: str
    device: str
    dtype: str
    height: int
    width: int
    batch_size: int
    guided: bool
    seconds_per_step: float
    seconds_per_image: float
    memory: int
    date: str

    def fits(self, section: SampleImages, device: str) -> bool:
        """Whether a configured sampling is of this kind, its number of steps aside."""
        same = ("model", "dtype", "height", "width", "batch_size")
        return (
            all(getattr(self, key) == getattr(section, key) for key in same)
            and self.guided == (section.guidance_scale > 1)
            and self.device == device
        )


def read_measured(root: Path) -> list[Measured]:
    """What was measured here; nothing where the file is missing or of another form."""
    try:
        return [Measured(**row) for row in read_json(root / MEASURED)]
    except (OSError, ValueError, TypeError):
        return []


def keep_measured(new: Measured, root: Path) -> None:
    """Add a measurement, in place of an older one of the same kind."""

    def kind(one: Measured) -> tuple[Any, ...]:
        return (one.model, one.device, one.dtype, one.height, one.width, one.batch_size, one.guided)

    kept = [one for one in read_measured(root) if kind(one) != kind(new)]
    with new_file(root / MEASURED) as file:
        file.write(json.dumps([asdict(one) for one in [*kept, new]], indent=1).encode())


def benchmark(name: str, where: dict[str, str], column: str) -> Figure | None:
    """A number of a benchmark's results, with command and machine; None where it is not there.

    Args:
        name: of the file below `RESULTS`.
        where: column -> what its text begins with, of a row; of a bar ``{"name": ...}``.
        column: the one to read; ``value`` of a bar.
    """
    found = _row(name, where)
    return found and Figure(float(found[0][column]), found[1])


def _row(name: str, where: dict[str, str]) -> tuple[dict[str, Any], str] | None:
    """A row of a benchmark's results, and how it came about."""
    try:
        found = read_json(RESULTS / f"{name}.json")
    except (OSError, ValueError):
        return None
    for row in [*found["rows"], *found["bars"]]:
        if all(str(row.get(key, "")).startswith(text) for key, text in where.items()):
            ran = found["ran"]
            return row, f"measured: {ran['command']}, {ran['date']}, {ran['machine']}"
    return None


def known_gpu(device: str) -> str | None:
    """The GPU of `SD1_STEPS` that a device's name holds: A100 of NVIDIA A100-SXM4-40GB."""
    return next((name for name in SD1_STEPS if re.search(rf"\b{name}\b", device, re.I)), None)


def is_storybook(section: SampleImages) -> bool:
    """Whether the base model is the embedded one."""
    return Path(section.model).name == "storybook-sd"


def is_sd1(section: SampleImages, model: BaseModel | None) -> bool:
    """Whether the base model has the shape of Stable Diffusion 1.x; without it, by its name."""
    if model is None:
        return SD1_MODELS.search(section.model) is not None
    unet = read_json(model.folder / "unet/config.json")
    return tuple(unet.get("block_out_channels", ())) == SD1_CHANNELS


def sampling_seconds(
    section: SampleImages, model: BaseModel | None, device: str, root: Path
) -> Figure | None:
    """Seconds an image takes, by what was measured here, else by a benchmark or a publication.

    Guidance doubles the work, and pixels and steps count in proportion.

    Args:
        device: ``cpu`` or a GPU's name, such as "NVIDIA A100-SXM4-40GB".
    """
    steps, pixels = section.num_inference_steps, section.height * section.width
    for one in reversed(read_measured(root)):
        if one.fits(section, device):
            seconds = one.seconds_per_image + steps * one.seconds_per_step
            return Figure(seconds, f"measured here: tasks.doctor --measure, {one.date}")
    halves = 1.0 if section.guidance_scale > 1 else 0.5
    if device == "cpu" and is_storybook(section):
        told = benchmark("demo", {"what": "sample_images"}, "seconds")
        work = halves * steps / DEMO_STEPS * pixels / DEMO_PIXELS
        return told and Figure(work * told.value / DEMO_IMAGES, told.basis)
    if device == "cpu":
        if not is_sd1(section, model):
            return None
        shape = "SD1.5's shape, 256x256"
        found = _row("sampling", {"model": shape, "method": "one_step"})
        if found is None:
            return None
        row, basis = found
        width, height, ran = map(int, re.findall(r"(\d+)x(\d+).* steps (\d+)", row["model"])[0])
        work = halves * pixels / (width * height) * steps / ran
        return Figure(work / float(row["images/s"]), basis)
    gpu = known_gpu(device)
    if gpu is None or not is_sd1(section, model):
        return None
    work = halves * steps * pixels / SD1_PIXELS
    return Figure(work / SD1_STEPS[gpu], f"{DIFFUSERS}, {gpu}")
