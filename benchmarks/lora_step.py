"""What a LoRA step costs: time and memory of ``adapt_lora``, beside the plain loop of diffusers.

* plain: `benchmarks.plain_lora`, which encodes images and captions in every step;
* adapt_lora: `tasks.lora_trainer`, which has encoded them before the first.

Both train the same adapter by the same recipe, in the same number type, on the same seeded noise
pictures. Two differences are no cache: up to 1024 latent positions, as here, adapt_lora writes
attention out on a CPU, where the plain loop keeps diffusers' default, PyTorch's fused one; and it
keeps the autoencoder in float32, for its sample sheets.

Times are of alternating steps after a warm-up, in one process; the order turns every round. Memory
is that of a process of each way's own, libraries and weights included: the peak of its resident set
from its first step on (Linux). Its start is timed too, since caches are paid for there.
"""

import re
import statistics
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Protocol

import cyclopts
import numpy as np
import torch
from cyclopts import Parameter
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from benchmarks.batches import PAIRS, SD15_SHAPE, STORYBOOK, TEXT_LENGTH, TINY_SHAPE
from benchmarks.plain_lora import PlainLoop
from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from benchmarks.sampling import timed
from tasks.encoding import Captioned
from tasks.label_maps import encode_image
from tasks.lora_trainer import Job, Trainer
from tasks.params import AdaptLora, load_params
from tasks.progress import progress

PRESET = Path(__file__).parents[1] / "presets/storybook_street.yaml"
CPU = torch.device("cpu")
MEASURED_STEPS = 2
"""Steps whose memory is measured: the first makes the optimiser's state, the second has it."""


class Loop(Protocol):
    """A training in memory that takes steps; each returns its loss."""

    def step(self, step: int, /) -> Tensor:
        """Take a step."""


WAYS: dict[str, Callable[[Job], Loop]] = {
    "plain": PlainLoop,
    "adapt_lora": lambda job: Trainer(job, "cpu", Path()),
}


@dataclass(frozen=True)
class Shape:
    """Arguments of the networks of a Stable Diffusion model."""

    unet: dict[str, Any]
    autoencoder: dict[str, Any]
    text_encoder: dict[str, Any]


def _autoencoder(*channels: int, layers: int, groups: int) -> dict[str, Any]:
    return {
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
        "block_out_channels": channels,
        "layers_per_block": layers,
        "norm_num_groups": groups,
    }


def _text_encoder(width: int, layers: int, heads: int, words: int) -> dict[str, Any]:
    return {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "projection_dim": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": TEXT_LENGTH,
    }


SD15 = Shape(
    SD15_SHAPE,
    _autoencoder(128, 256, 512, 512, layers=2, groups=32),
    _text_encoder(768, layers=12, heads=12, words=49_408),
)
TINY = Shape(
    TINY_SHAPE,
    _autoencoder(8, 8, 16, 16, layers=1, groups=8),
    _text_encoder(16, layers=1, heads=2, words=1000),
)


@dataclass(frozen=True)
class Case:
    """A model, and how its adapter is trained.

    Attributes:
        title: as the table names it.
        shape: of a model with random weights; None is the storybook model.
        size: pixels, of both sides.
        batch_size: images in a step.
        images: how many there are.
        rounds: timed steps of each way.
        bound: how many times as fast as the plain loop a step must be.
    """

    title: str
    shape: Shape | None
    size: int
    batch_size: int
    images: int
    rounds: int
    bound: float


CASES = (
    Case("storybook", None, 64, batch_size=16, images=80, rounds=60, bound=1.0),
    Case("SD1.5's shape", SD15, 256, batch_size=1, images=4, rounds=30, bound=1.2),
)
QUICK = (
    Case("storybook", None, 64, batch_size=2, images=4, rounds=2, bound=0.0),
    Case("tiny", TINY, 64, batch_size=1, images=4, rounds=2, bound=0.0),
)


def write_model(folder: Path, shape: Shape) -> None:
    """A Stable Diffusion folder with seeded random weights and storybook's tokenizer.

    In float16, as models are published. Weights that need no cast when they are loaded would stay
    mapped to their file, and count as resident only where they are touched.
    """
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(STORYBOOK / "tokenizer", model_max_length=TEXT_LENGTH)
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id")}
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(**shape.autoencoder),
        text_encoder=CLIPTextModel(CLIPTextConfig(**shape.text_encoder, **special)),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(**shape.unet),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(folder)


def write_images(folder: Path, count: int, size: int) -> tuple[Captioned, ...]:
    """Seeded noise pictures with captions of two classes."""
    images = []
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)
        data = encode_image(noise)
        path = folder / f"{number:04d}.png"
        path.write_bytes(data)
        caption = "a {} and a {} on grass".format(*PAIRS[number % len(PAIRS)])
        images.append(Captioned(path, path.name, caption, sha256(data).hexdigest()))
    return tuple(images)


@contextmanager
def written(case: Case) -> Iterator[Job]:
    """The case's training, with its model and images in a temporary folder.

    The recipe is the preset's, with each image and each caption as it is: no mirroring, no crops,
    no empty caption.
    """
    section = load_params(PRESET).adapt_lora.model_dump() | {
        "batch_size": case.batch_size,
        "framing": "crop",
        "crops_per_image": 1,
        "flip": False,
        "caption_dropout": 0.0,
    }
    with TemporaryDirectory(prefix="maskloom-lora-step-") as temporary:
        folder = Path(temporary)
        model = STORYBOOK
        if case.shape is not None:
            model = folder / "model"
            write_model(model, case.shape)
        images = write_images(folder, case.images, case.size)
        size = case.size, case.size
        recipe = AdaptLora.model_validate(section)
        yield Job(recipe, str(model), base="", size=size, images=images, words=())


def peak_bytes(work: Callable[[], object]) -> int:
    """The peak of this process's resident set during ``work``, what it held before included."""
    Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to what is resident now
    work()
    status = Path("/proc/self/status").read_text()
    (kib,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kib) * 1024


def measure_alone(way: str, job: Job) -> Row:
    """Start a training in this process and take its first steps: columns of the table."""
    started, loop = timed(partial(WAYS[way], job), CPU)
    peak = peak_bytes(lambda: [loop.step(step) for step in range(MEASURED_STEPS)])
    return {"start, seconds": round(started, 1), "peak GiB": round(peak / 2**30, 2)}


def in_process(way: str, job: Job) -> Row:
    """`measure_alone` in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure_alone, way, job).result()


def measure_times(title: str, loops: Mapping[str, Loop], rounds: int) -> dict[str, list[float]]:
    """Each way's seconds in each round."""
    seconds: dict[str, list[float]] = {way: [] for way in loops}
    order = list(loops)
    with progress(title, (rounds + 1) * len(order), "steps") as advance:
        for number in range(rounds + 1):
            for way in order:
                taken, _ = timed(partial(loops[way].step, number), CPU)
                if number > 0:  # round 0 warms up
                    seconds[way].append(taken)
                advance(1, way)
            order.reverse()
    return seconds


def rows_of(
    title: str, seconds: Mapping[str, list[float]], alone: Mapping[str, Row]
) -> dict[str, Row]:
    """A row per way: medians over the rounds, of the ratio to the plain loop's step too.

    Args:
        title: of the case.
        seconds: by way, in each round.
        alone: by way, what `measure_alone` found.
    """
    rows: dict[str, Row] = {}
    for way, taken in seconds.items():
        ratios = [plain / own for plain, own in zip(seconds["plain"], taken, strict=True)]
        rows[way] = {
            "model": title,
            "way": way,
            "seconds per step": round(statistics.median(taken), 4),
            "times as fast as plain": statistics.median(ratios),
            **alone[way],
        }
    return rows


def compare(case: Case) -> tuple[list[Row], Bar]:
    """A row per way, and what must hold of them."""
    with written(case) as job:
        alone = {way: in_process(way, job) for way in WAYS}
        loops = {way: make(job) for way, make in WAYS.items()}
        pixels = f"{case.size}x{case.size}"
        title = f"{case.title}, {pixels}, batch {case.batch_size}, {job.section.dtype}"
        rows = rows_of(title, measure_times(title, loops, case.rounds), alone)
    ratio = float(rows["adapt_lora"]["times as fast as plain"])
    name = f"{case.title}: a step, times as fast as plain"
    return list(rows.values()), Bar.at_least(name, ratio, case.bound)


def main(
    *,
    quick: Annotated[bool, Parameter(help="tiny models, 2 rounds; writes no result")] = False,
) -> None:
    """Time and memory of a LoRA step, with latents and captions encoded once and every time."""
    cases = QUICK if quick else CASES
    rows, bars = [], []
    for case in cases:
        measured, bar = compare(case)
        rows += measured
        bars.append(bar)
    ran = what_ran(
        seeds="picture i: i; weights, adapter and recipe: 0",
        rounds=", ".join(f"{case.title} {case.rounds}" for case in cases),
        threads=torch.get_num_threads(),
    )
    finish("lora_step", ran, rows, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
