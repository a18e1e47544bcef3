"""The machine at hand: the room that a run needs, and whether it has the rights and the devices.

Imports no torch, unless a GPU is asked for.
"""

import os
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from tasks.label_maps import label_dtype
from tasks.params import InputError, Params, TrainSegmenter

OUTPUT_FOLDERS = ("data", "models", "metrics", "plots", "report", ".maskloom", ".dvc")
DEVICE = re.compile(r"auto|cpu|cuda(?::(\d+))?")
STORYBOOK_NETWORKS_BYTES = 500_000_000
"""Room for storybook's networks, their checkpoints and the report."""
NETWORKS_BYTES = 4_000_000_000
"""The same for pictures of 512x512. Two networks with a ResNet-101 have 0.5 GB of weights, and as
much momentum; there are two checkpoints, and the weights as best, finished, handed over and cached.
"""

SAMPLED_ELSEWHERE = "MASKLOOM_SAMPLED_ELSEWHERE"
"""Set by a fan-out whose shards other machines compute: this one need not have their device."""
GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", SAMPLED_ELSEWHERE)


def machine_problems(params: Params, root: Path) -> list[str]:
    """What the machine at hand lacks, as far as can be seen without asking for a GPU."""
    problems = []
    shut = [
        folder
        for folder in (".", *OUTPUT_FOLDERS)
        if (root / folder).exists() and not os.access(root / folder, os.W_OK | os.X_OK)
    ]
    if shut:
        problems.append(f"disk: cannot write to {', '.join(shut)}; give this user the right to")
    for key, device in _devices(params):
        if not DEVICE.fullmatch(device):
            problems.append(f"{key}: must be auto, cpu, cuda or cuda:N, not {device!r}")
    return problems


def run_bytes(params: Params) -> int:
    """Room for the run at most: samples and masks in store and cache, and the networks."""
    count = params.expand_prompts.images_per_class * len(params.expand_prompts.classes)
    return 2 * (sample_bytes(params) + mask_bytes(params)) * count + networks_bytes(params)


def networks_bytes(params: Params) -> int:
    """Room for the networks at most, by whether their config is one of storybook's."""
    small = is_storybook_network(params.train_segmenter)
    return STORYBOOK_NETWORKS_BYTES if small else NETWORKS_BYTES


def is_storybook_network(section: TrainSegmenter) -> bool:
    """Whether the network is storybook's own, by where its config lies."""
    return "/storybook/" in section.config


def mask_bytes(params: Params) -> int:
    """A label map, its reliability and its uncertainty if asked for, as if PNG saved nothing.

    With the header of each in a tar file.
    """
    pixels = params.sample_images.height * params.sample_images.width
    widths = [label_dtype(len(params.expand_prompts.label_names)).itemsize, 1]
    if params.extract_masks.response_scalings:
        widths.append(1)
    return sum(widths) * pixels + len(widths) * 1024


def sample_bytes(params: Params) -> int:
    """An image as if PNG saved nothing, and the attention of a prompt's phrases in float16.

    As many phrases as a template prompt has at most. With the headers of two members of a tar file.
    """
    section, prompts = params.sample_images, params.expand_prompts
    phrases = (prompts.max_classes if prompts.several_share else 1) + len(prompts.always)
    kept = section.capture
    # All resolutions together have at most 4/3 of the positions of the largest; an autoencoder
    # divides the sides by 4 or more.
    sides = kept.resolutions or (max(section.height, section.width) // 3,)
    attention = 2 * phrases * len(kept.steps) * sum(side**2 for side in sides)
    if kept.self_attention is not None:
        attention += 2 * kept.self_attention.resolution**4
    return 3 * section.height * section.width + attention + 2 * 1024


def gpu_problems(params: Params) -> list[str]:
    """Devices that were asked for and are not there, and number types that the CPU lacks."""
    section = params.sample_images
    elsewhere = bool(os.environ.get(SAMPLED_ELSEWHERE))
    asked = [
        (key, device, int(found[1] or 0))
        for key, device in _devices(params)
        if device.startswith("cuda") and (found := DEVICE.fullmatch(device))
        if not (elsewhere and key == "sample_images.device")
    ]
    if not asked and section.dtype != "float16":
        return []
    import torch  # two seconds to import, and only needed where a GPU is asked for

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    problems = [_missing(key, device, count) for key, device, number in asked if number >= count]
    on_cpu = section.device == "cpu" or (section.device == "auto" and not count)
    if section.dtype == "float16" and on_cpu:
        problems.append(
            "sample_images.dtype: float16 is for GPUs, and sampling would run on the CPU here; "
            "choose bfloat16 or float32"
        )
    return problems


def choose_device(wanted: str, key: str = "device") -> str:
    """The device to compute on: ``auto`` is the first CUDA device, or the CPU without one.

    Args:
        key: who asks for it, for the message.

    Raises:
        InputError: there is no such device.
    """
    import torch  # two seconds to import, and whoever asks has it imported already

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    asked = DEVICE.fullmatch(wanted)
    if not asked:
        raise InputError(f"{key}: must be auto, cpu, cuda or cuda:N, not {wanted!r}")
    count = torch.cuda.device_count()
    if wanted != "cpu" and int(asked[1] or 0) >= count:
        raise InputError(_missing(key, wanted, count))
    return wanted


def gpu_count() -> int:
    """The CUDA devices that PyTorch sees."""
    import torch  # two seconds to import

    return torch.cuda.device_count()


def gpu_facts() -> list[Any]:
    """What decides whether PyTorch finds a GPU, as far as files tell."""
    devices = sorted(map(str, [*Path("/dev").glob("nvidia[0-9]*"), *Path("/dev").glob("dxg")]))
    return [devices, *map(os.environ.get, GPU_VARIABLES), metadata.version("torch")]


def _devices(params: Params) -> list[tuple[str, str]]:
    devices = [
        ("sample_images.device", params.sample_images.device),
        ("train_segmenter.device", params.train_segmenter.device),
    ]
    if params.adapt_lora.adapter == "train":
        devices.append(("adapt_lora.device", params.adapt_lora.device))
    similarity = params.score_masks.similarity
    if similarity.model != "none":
        devices.append(("score_masks.similarity.device", similarity.device))
    return devices


def _missing(key: str, device: str, count: int) -> str:
    return (
        f"{key}: {device} is not there: PyTorch {metadata.version('torch')} sees {count} CUDA "
        "devices; choose auto or cpu, or install a CUDA build of PyTorch and a driver"
    )
