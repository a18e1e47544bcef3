"""What it costs to capture attention while sampling: time and memory, ours beside the peers' ways.

Five methods sample the same batches with the same seeds:

* plain: the pipeline as it is;
* one_step: `tasks.attention`, the middle step, all resolutions, copied to the host once per batch;
* all_steps: the same at every step;
* store_everything: attention is computed explicitly and all of it kept, as DiffuMask and
  prompt-to-prompt do; on a GPU image by image, since a batch's store would not fit;
* daam_like: attention is computed explicitly and every word's heat map summed over the steps, as
  DAAM does; image by image, since it refuses batches.

Times are of alternating rounds after a warm-up, in an order that rotates. Memory is measured in
calls of their own, which are not timed: on a GPU by the CUDA allocator's peak, on a CPU by the peak
of the running sum of the profiler's memory events. A method's peak attention memory is its peak
less that of the plain pipeline with as many images at a time: what passes below that costs nothing.

With ``--compile`` the peers run uncompiled, and so do the traced steps. Then images differ in their
last bits and all steps cannot be cheap, so that those bars are left out.
"""

import gc
import statistics
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, TypeVar

import cyclopts
import torch
from cyclopts import Parameter
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.batches import SD15_SHAPE, TINY_SHAPE, Batch, random_batch, storybook_batch
from benchmarks.peer_capture import store_everything, sum_heat_maps
from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from tasks.attention import to_host, trace_cross_attention
from tasks.machine import choose_device
from tasks.progress import progress

T = TypeVar("T")

RETAINED = "retained MB per image and step"


Sampled = tuple[Tensor, int]
"""Images, and bytes of attention kept."""


def _plain(batch: Batch) -> Sampled:
    return batch.sample(), 0


def _traced(steps: Callable[[int], Collection[int]], batch: Batch) -> Sampled:
    chosen = steps(batch.steps)
    with trace_cross_attention(batch.pipeline.unet, batch.columns, chosen) as trace:
        images = batch.sample()
    maps = trace.maps()
    to_host(maps)
    return images, _bytes(maps.values())


def _stored(batch: Batch) -> Sampled:
    with _uncompiled(batch), store_everything(batch.pipeline.unet) as kept:
        images = batch.sample()
    return images, _bytes(kept)


def _summed(batch: Batch) -> Sampled:
    with _uncompiled(batch), sum_heat_maps(batch.pipeline.unet) as sums:
        images = batch.sample()
    return images, _bytes(sums.values())


METHODS: dict[str, Callable[[Batch], Sampled]] = {
    "plain": _plain,
    "one_step": partial(_traced, lambda steps: [steps // 2]),
    "all_steps": partial(_traced, range),
    "store_everything": _stored,
    "daam_like": _summed,
}


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _uncompiled(batch: Batch) -> AbstractContextManager[Any]:
    compiled = hasattr(batch.pipeline.unet, "_orig_mod")
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


def images_per_call(method: str, batch: Batch) -> int:
    """How many images the method takes at a time."""
    on_gpu = batch.pipeline.device.type == "cuda"
    alone = method == "daam_like" or (method == "store_everything" and on_gpu)
    return 1 if alone else len(batch.seeds)


def sample_in_parts(method: str, batch: Batch) -> Tensor:
    """The batch's images, as many at a time as the method takes."""
    count = images_per_call(method, batch)
    parts = [batch.part(slice(i, i + count)) for i in range(0, len(batch.seeds), count)]
    return torch.cat([METHODS[method](part)[0] for part in parts])


def timed(work: Callable[[], T], device: torch.device) -> tuple[float, T]:
    """Seconds that ``work`` takes, to the end on a GPU too, and what it returns."""
    gc.collect()
    _synchronise(device)
    started = time.perf_counter()
    result = work()
    _synchronise(device)
    return time.perf_counter() - started, result


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(work: Callable[[], T], device: torch.device) -> tuple[int, T]:
    """Most bytes that tensors held at once during ``work``, above those before, and its result."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = work()
        return torch.cuda.max_memory_allocated(device) - before, result
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = work()
    # The profiler's tables sum memory per operation; the single allocations lie in its raw events.
    assert profiler.profiler is not None
    events = profiler.profiler.kineto_results.events()
    changes = [(event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"]
    held = peak = 0
    for _, change in sorted(changes, key=lambda item: item[0]):
        held += change
        peak = max(peak, held)
    return peak, result


def measure_times(batch: Batch, rounds: int) -> tuple[dict[str, list[float]], dict[str, bool]]:
    """Each method's seconds in each round, and whether its images always were plain's, bitwise."""
    device = batch.pipeline.device
    seconds: dict[str, list[float]] = {method: [] for method in METHODS}
    identical = dict.fromkeys(METHODS, True)
    names = list(METHODS)
    reference = batch.sample()
    with progress(batch.title, (rounds + 1) * len(names), "batches") as advance:
        for number in range(rounds + 1):
            first = number % len(names)
            for method in names[first:] + names[:first]:
                taken, images = timed(partial(sample_in_parts, method, batch), device)
                identical[method] &= torch.equal(images, reference)
                if number > 0:  # round 0 warms up
                    seconds[method].append(taken)
                advance(1, method)
    return seconds, identical


def measure_memory(batch: Batch) -> dict[str, Row]:
    """What each method keeps, and its peak, as columns of the table."""
    device = batch.pipeline.device
    plain_peaks: dict[int, int] = {}
    columns: dict[str, Row] = {}
    for method, sample in METHODS.items():
        count = images_per_call(method, batch)
        part = batch.part(slice(count))
        if count not in plain_peaks:
            plain_peaks[count], _ = peak_bytes(part.sample, device)
        peak, (_, kept) = peak_bytes(partial(sample, part), device)
        captured = 1 if method == "one_step" else batch.steps
        columns[method] = {
            RETAINED: round(kept / count / captured / 1e6, 6),
            "peak attention MB": round((peak - plain_peaks[count]) / 1e6, 3),
            "peak GB, weights aside": round(peak / 1e9, 4),
        }
    return columns


def compare(batch: Batch, rounds: int) -> list[Row]:
    """A row per method; without rounds, of memory alone."""
    seconds, identical = measure_times(batch, rounds) if rounds else ({}, {})
    rows: list[Row] = []
    for method, memory in measure_memory(batch).items():
        row: Row = {
            "model": batch.title,
            "method": method,
            "images at a time": images_per_call(method, batch),
            "seconds per batch": "",
            "ratio to plain": "",
            "images/s": "",
            "images identical": "",
        }
        if rounds:
            taken = statistics.median(seconds[method])
            ratios = [a / b for a, b in zip(seconds[method], seconds["plain"], strict=True)]
            row |= {
                "seconds per batch": round(taken, 3),
                "ratio to plain": statistics.median(ratios),
                "images/s": round(len(batch.seeds) / taken, 3),
                "images identical": identical[method],
            }
        rows.append(row | memory)
    return rows


def bars_of(model: str, rows: list[Row], *, quick: bool, compiled: bool) -> list[Bar]:
    """The bounds on one model that can hold in this kind of run."""
    row = {str(row["method"]): row for row in rows}
    ratio = {name: row[name]["ratio to plain"] for name in ("one_step", "all_steps")}
    bars = []
    if not quick:
        bars.append(Bar.at_most(f"{model}: time, one step", float(ratio["one_step"]), 1.02, 4))
    if not quick and not compiled:
        bars.append(Bar.at_most(f"{model}: time, all steps", float(ratio["all_steps"]), 1.05, 4))
    if not compiled:
        identical = all(row[name]["images identical"] for name in ratio)
        bars.append(Bar.at_least(f"{model}: images identical when traced", float(identical), 1))
    return bars


def main(
    *,
    rounds: Annotated[int, Parameter(help="timed rounds; the median counts")] = 5,
    device: Annotated[str, Parameter(help="cpu, cuda, cuda:1 ... or auto")] = "cpu",
    compiled: Annotated[bool, Parameter("--compile", help="compile the UNets")] = False,
    channels_last: Annotated[bool, Parameter(help="lay out the networks channels last")] = False,
    quick: Annotated[bool, Parameter(help="tiny networks, 2 rounds; writes no result")] = False,
) -> None:
    """Time and memory of capturing attention while sampling."""
    device = choose_device(device)
    if quick:
        rounds = 2
        storybook = storybook_batch(device, images=2, steps=2)
        other = random_batch("tiny UNet", TINY_SHAPE, device, images=2, size=64, steps=2)
    else:
        images, size, steps = (2, 256, 3) if device == "cpu" else (16, 512, 50)
        storybook = storybook_batch(device, images=16, steps=20)
        other = random_batch("SD1.5's shape", SD15_SHAPE, device, images, size, steps)
    large = replace(other.part(slice(1)), size=64 if quick else 512, steps=1)
    rows, bars = [], []
    for batch in (storybook, other):
        if channels_last:
            batch.pipeline.unet.to(memory_format=torch.channels_last)
            batch.pipeline.vae.to(memory_format=torch.channels_last)
        if compiled:
            batch.pipeline.unet = torch.compile(batch.pipeline.unet)
        measured = compare(batch, rounds)
        rows += measured
        bars += bars_of(batch.model, measured, quick=quick, compiled=compiled)
    measured = compare(large, rounds=0)
    rows += measured
    retained = max(float(row[RETAINED]) for row in measured if str(row["method"]).endswith("step"))
    bars.append(Bar.at_most(f"{RETAINED} at {large.size}x{large.size}", retained, 1))
    ran = what_ran(seeds="image i: i", rounds=rounds, threads=torch.get_num_threads())
    name = "sampling"
    if device != "cpu":
        name = f"sampling_{device.partition(':')[0]}"
        ran["machine"] = torch.cuda.get_device_name(device)
    finish(name, ran, rows, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
