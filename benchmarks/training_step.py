"""What a step of co-training costs beside two steps of one network, and what loading costs.

Steps are forward pass, backward pass and update on batches that lie ready, with the storybook
network and its recipe; ClassMix is on, with BECO's probability. The two kinds alternate, and the
ratio is of their mean times: a batch that is mixed and one that is not cost differently.

The loader is MMEngine's, with two worker processes and the storybook pipeline, over as many samples
as there are: from tar shards by offset, as trainings read them, and from loose files of the same
bytes. Rounds alternate. Cores busy is the CPU time, by the clock's, of the workers and of the
process that collects what they load.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import psutil
import torch
from cyclopts import Parameter
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner

from benchmarks.labelled_shards import Sample, shard_dataset, write_dataset
from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from mmseg_configs.reliability.batch import Phase
from storybook import page
from storybook.vocabulary import CLASS_NAMES
from tasks.params import load_params
from tasks.progress import progress
from tasks.segmenter import build_network
from tasks.training_config import build_config

ROOT = Path(__file__).parents[1]
DISTINCT = 200
"""Pictures that are rendered; a larger set repeats them, each time as other files."""
BATCH = 16
WORKERS = 2
CLASSMIX = 0.5
"""BECO's probability of mixing a batch."""
STEP_RATIO = 1.10
CORES_BUSY = 0.8 * WORKERS


def render(count: int) -> Iterator[Sample]:
    """Storybook pages with labels and a smooth map for their reliability."""
    rendered = []
    for number in range(min(count, DISTINCT)):
        rng = np.random.default_rng(number)
        image, label = page.render(page.sample_scene(rng))
        ramp = np.linspace(0, 255, label.size).reshape(label.shape).astype(np.uint8)
        rendered.append((image, label, np.roll(ramp, rng.integers(64), axis=1)))
    for number in range(count):
        yield Sample(f"{number:05d}", "train", *rendered[number % len(rendered)])


@DATASETS.register_module()
class LooseFiles(BaseDataset):
    """The same samples as single files, read by MMEngine's own backend."""

    def load_data_list(self) -> list[dict[str, Any]]:
        """One entry per image, sorted by name."""
        return [
            {
                "img_path": str(path),
                "seg_map_path": str(path).replace("/image/", "/label/"),
                "reliability_path": str(path).replace("/image/", "/reliability/"),
                "label_map": None,
                "reduce_zero_label": False,
                "seg_fields": [],
            }
            for path in sorted(Path(self.data_root).glob("image/*.png"))
        ]


def write_loose(folder: Path, samples: list[Sample]) -> None:
    """Write each sample's files below ``image``, ``label`` and ``reliability``."""
    kinds = ("image", "label", "reliability")
    for kind in kinds:
        (folder / kind).mkdir(parents=True)
    for sample in samples:
        files = sample.files()
        for kind in kinds:
            (folder / kind / f"{sample.name}.png").write_bytes(files[kind])


def config(root: Path, method: str) -> Config:
    """The default preset's training by a method, with reliability and ClassMix from the start."""
    init_default_scope("mmseg")
    section = load_params(ROOT / "presets/storybook.yaml").train_segmenter
    co_training = section.co_training.model_copy(
        update={"classmix": CLASSMIX, "classmix_from": 0.0}
    )
    changes = {"reliability": method, "warmup": 0.0, "fade": 0.0, "co_training": co_training}
    names = len(CLASS_NAMES["page"])
    return build_config(
        section.model_copy(update=changes),
        shard_dataset(root, "train"),
        None,
        names,
        reliability=True,
        root=ROOT,
    )


def make_step(root: Path, method: str) -> Callable[[], float]:
    """A function that loads a batch, takes a training step on it, and says how long that took."""
    cfg = config(root, method)
    torch.manual_seed(0)
    network: Any = build_network(cfg)
    network.to(memory_format=torch.channels_last).train()
    wrapper = build_optim_wrapper(network, cfg.optim_wrapper)
    batches = iter(Runner.build_dataloader(cfg.train_dataloader, seed=0))
    classmix = next(hook.get("classmix", 0.0) for hook in cfg.custom_hooks)
    network.phase = Phase(1.0, classmix, torch.Generator().manual_seed(0))

    def step() -> float:
        batch = next(batches)
        started = time.perf_counter()
        network.train_step(batch, wrapper)
        return time.perf_counter() - started

    return step


def compare_steps(root: Path, rounds: int) -> tuple[list[Row], float]:
    """A row per method, and a co-training step's time by that of two single-network steps."""
    steps = {method: make_step(root, method) for method in ("weighted", "co_training")}
    seconds: dict[str, list[float]] = {method: [] for method in steps}
    with progress("steps", 2 * rounds + 6, "steps") as advance:
        for number in range(rounds + 3):
            for method, step in steps.items():
                taken = step()
                if number >= 3:  # the first ones warm up
                    seconds[method].append(taken)
                advance(1)
    mean = {method: statistics.mean(taken) for method, taken in seconds.items()}
    ratio = mean["co_training"] / (2 * mean["weighted"])
    rows: list[Row] = [
        {
            "what": f"training step, {method}, batch {BATCH}",
            "ms a batch": round(1000 * mean[method], 1),
            "samples/s": round(BATCH / mean[method], 1),
            "cores busy": "",
        }
        for method in steps
    ]
    return rows, ratio


def epoch(dataset: dict[str, Any]) -> tuple[float, float]:
    """Load every sample once.

    Returns:
        Seconds, and CPU seconds of the workers and of this process; the start counts in neither.
    """
    loader = Runner.build_dataloader(
        {
            "dataset": dataset,
            "batch_size": BATCH,
            "num_workers": WORKERS,
            "sampler": {"type": "DefaultSampler", "shuffle": True},
        }
    )
    batches = iter(loader)
    next(batches)
    processes = [psutil.Process(), *(psutil.Process(each.pid) for each in batches._workers)]
    before, started = _cpu_seconds(processes), time.perf_counter()
    for _ in range(len(loader) - 1 - WORKERS):  # the workers end with the last ones
        next(batches)
    seconds = time.perf_counter() - started
    busy = _cpu_seconds(processes) - before
    for _ in batches:
        pass
    return seconds, busy


def _cpu_seconds(processes: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return float(sum(each.user + each.system for each in times))


def compare_loading(root: Path, count: int, rounds: int) -> tuple[list[Row], dict[str, float]]:
    """A row per way of storing, and the medians that the bars are about."""
    pipeline = config(root, "weighted").train_pipeline
    datasets = {
        "shards": {**shard_dataset(root, "train"), "pipeline": pipeline},
        "loose files": {
            "type": "LooseFiles",
            "data_root": str(root / "loose"),
            "pipeline": pipeline,
        },
    }
    taken: dict[str, list[float]] = {name: [] for name in datasets}
    busy: dict[str, list[float]] = {name: [] for name in datasets}
    with progress("loading", len(datasets) * (rounds + 1), "epochs") as advance:
        for number in range(rounds + 1):
            for name, dataset in datasets.items():
                seconds, cpu = epoch(dataset)
                if number:  # the first one fills the page cache
                    taken[name].append(seconds)
                    busy[name].append(cpu / seconds)
                advance(1)
    loaded = count - BATCH * (1 + WORKERS)
    rows: list[Row] = [
        {
            "what": f"loading from {name}, {count} samples",
            "ms a batch": round(1000 * statistics.median(taken[name]) * BATCH / loaded, 1),
            "samples/s": round(loaded / statistics.median(taken[name]), 1),
            "cores busy": round(statistics.median(busy[name]), 2),
        }
        for name in datasets
    ]
    pairs = zip(taken["loose files"], taken["shards"], strict=True)
    speed = statistics.median(loose / shards for loose, shards in pairs)
    return rows, {"speed": speed, "busy": statistics.median(busy["shards"])}


def main(
    *,
    quick: Annotated[bool, Parameter(help="a few steps and samples; no result")] = False,
) -> None:
    """Time co-training steps beside single-network ones, and loading from shards and files."""
    rounds, count, epochs = (2, 96, 1) if quick else (60, 10_000, 3)
    with tempfile.TemporaryDirectory(prefix="maskloom-step-") as temporary:
        root = Path(temporary)
        samples = list(render(count))
        write_dataset(root, samples, CLASS_NAMES["page"])
        write_loose(root / "loose", samples)
        step_rows, ratio = compare_steps(root, rounds)
        loading_rows, loading = compare_loading(root, count, epochs)
    bars = [
        Bar.at_most("co-training step by two single ones", ratio, 9 if quick else STEP_RATIO, 3),
        Bar.at_least(
            "loading from shards by loose files",
            loading["speed"],
            0 if quick else 1.0,
            3,
        ),
        Bar.at_least(f"cores busy of {WORKERS}", loading["busy"], 0 if quick else CORES_BUSY, 2),
    ]
    ran = what_ran(rounds=f"{rounds} steps, {epochs} epochs", seeds="0")
    finish("training_step", ran, step_rows + loading_rows, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
