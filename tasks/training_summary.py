"""What a finished training reports, ``training.json``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.runner import Runner

from mmseg_configs.reliability import ReliabilityHook
from tasks.initial_weights import InitialWeightsHook
from tasks.training_config import CURVE_POINTS
from tasks.training_hooks import ValidationHook, find_hook


def summary(runner: Runner) -> dict[str, Any]:
    """The report of a training at its end.

    Returns:
        ``iterations``; ``images``, the size of the training set; ``final_loss``, the mean over the
        last tenth; ``curve``, the loss as [iteration, mean since the point before]; ``val``, mIoU
        (0..1) on the validation images as [iteration, mIoU]; ``kept``, the iteration of the weights
        that are kept; ``reliability``, where it was used, the rows of `ReliabilityHook`;
        ``init_from``, where it started from given weights, see `load_initial`.
    """
    losses = runner.message_hub.log_scalars["train/loss"].data[0]
    watching = find_hook(runner, ValidationHook)
    reliability = find_hook(runner, ReliabilityHook)
    initial = find_hook(runner, InitialWeightsHook)
    result = {
        "iterations": runner.iter,
        "images": len(runner.train_dataloader.dataset),
        "final_loss": round(float(np.mean(losses[-max(1, len(losses) // 10) :])), 5),
        "curve": mean_curve(losses),
        "val": watching.values if watching else [],
        "kept": watching.kept(runner) if watching else runner.iter,
    }
    if reliability:
        result["reliability"] = reliability.history
    if initial:
        result["init_from"] = initial.report
    return result


def mean_curve(values: Sequence[float], points: int = CURVE_POINTS) -> list[list[float]]:
    """A series of one value per iteration as at most ``points`` of [last iteration, mean]."""
    parts = np.array_split(np.asarray(values, float), min(points, len(values)))
    ends = np.cumsum([len(part) for part in parts])
    return [[int(end), round(float(part.mean()), 5)] for end, part in zip(ends, parts, strict=True)]
