"""A handful of images sampled to see how long they take, for `tasks.doctor`.

The images are dropped. Two batches with few steps each tell what a step costs and what does not
depend on the steps.
"""

import resource
import time
from datetime import datetime
from itertools import islice
from pathlib import Path

import torch

from tasks.machine import choose_device
from tasks.params import Params
from tasks.pipelines import load_pipeline
from tasks.prompts import expand
from tasks.sampling import sample_batch
from tasks.throughput import Measured, keep_measured

FEW, MORE = 2, 6
"""Denoising steps of the two batches."""


def measure(params: Params, root: Path = Path()) -> Measured:
    """Sample two batches as configured, but for the number of steps, and keep what it took.

    The adapter is left out: fused into the weights it costs nothing.

    Raises:
        InputError: the model, the device or the prompts are not there.
    """
    section = params.sample_images
    device = choose_device(section.device)
    pipeline = load_pipeline(section, device, root)
    rows = list(islice(expand(params.expand_prompts, root), section.batch_size))
    entries = ("all",) if "all" in section.capture.steps else ("middle",)
    capture = section.capture.model_copy(update={"steps": entries, "self_attention": None})

    def seconds(steps: int) -> float:
        asked = section.model_copy(update={"num_inference_steps": steps, "capture": capture})
        started = time.monotonic()
        sample_batch(pipeline, asked, rows)  # ends on the host
        return time.monotonic() - started

    seconds(FEW)  # the first one also allocates and chooses kernels
    few, more = seconds(FEW), seconds(MORE)
    step = max(more - few, 0.0) / (MORE - FEW)
    if device.startswith("cuda"):
        name, memory = torch.cuda.get_device_name(device), torch.cuda.max_memory_allocated(device)
    else:
        name, memory = "cpu", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = Measured(
        model=section.model,
        device=name,
        dtype=section.dtype,
        height=section.height,
        width=section.width,
        batch_size=section.batch_size,
        guided=section.guidance_scale > 1,
        seconds_per_step=step / len(rows),
        seconds_per_image=max(few - FEW * step, 0.0) / len(rows),
        memory=memory,
        date=datetime.now().astimezone().date().isoformat(),
    )
    keep_measured(found, root)
    return found
