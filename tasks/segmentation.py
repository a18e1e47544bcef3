"""Training of a segmentation network through MMSegmentation.

A training lives in a folder of its own below ``.maskloom/training``, named by a fingerprint of all
that it is made from. Stopped at any time, it continues there from its last checkpoint; finished, it
leaves a ``finished`` folder with ``weights.pth``, ``config.py`` and ``training.json``.
"""

import itertools
import json
import logging
import shutil
import warnings
import zipfile
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.runner import Runner
from torch import nn

import mmseg_configs.reliability  # noqa: F401  what configs and datasets name
from tasks import records
from tasks.digests import combine
from tasks.machine import choose_device
from tasks.params import InputError, TrainSegmenter
from tasks.progress import progress
from tasks.training_hooks import IterationSeedHook, ProgressHook, ValidationHook

log = logging.getLogger(__name__)

STORE = Path(".maskloom/training")
"""Where trainings live, from the repository root."""
CODE = ("mmseg_configs/reliability/*.py", "tasks/segmentation.py", "tasks/training_hooks.py")
"""The code that a training's result depends on, from the repository root."""
CURVE_POINTS = 50

_trainings = itertools.count()
"""MMEngine keeps what it logs by the experiment's name: each training in a process has its own."""


def load_config(path: Path) -> Config:
    """Read a config file; ``mmseg::`` in its ``_base_`` means the installed MMSegmentation.

    MMEngine looks for that by the name of the distribution, which is another one now.
    """
    MODULE2PACKAGE["mmseg"] = "onedl-mmsegmentation"
    return Config.fromfile(path)


def build_config(
    section: TrainSegmenter,
    train: dict[str, Any],
    val: dict[str, Any] | None,
    class_count: int,
    *,
    reliability: bool,
    root: Path,
) -> Config:
    """The whole config of a training: the file's network and pipelines, the recipe, the data.

    Args:
        section: the recipe; ``section.config`` names the file.
        train, val: the datasets without their pipelines; without ``val`` nothing is validated.
        class_count: classes, the background counted where there is one.
        reliability: whether the reliability maps are read and used.
        root: the repository root, where ``section.config`` starts from.

    Raises:
        InputError: the recipe wants reliability and the file's network cannot use it.
    """
    cfg = load_config(root / section.config)
    if reliability and cfg.model.type != "ReliabilityEncoderDecoder":
        raise InputError(
            "train_segmenter.reliability: weighted needs a ReliabilityEncoderDecoder; the model of "
            f"{section.config} is a {cfg.model.type}; change the config, or choose none"
        )
    if not reliability:
        drop_type(cfg.train_pipeline, "LoadReliability")
        drop_type(cfg.get("custom_hooks", []), "ReliabilityHook")
    set_class_count(cfg.model, class_count)
    cfg.optim_wrapper.optimizer.lr = section.learning_rate
    for scheduler in cfg.param_scheduler:
        scheduler.setdefault("end", section.iterations)
    workers = {
        "num_workers": section.num_workers,
        "persistent_workers": section.num_workers > 0,
    }
    cfg.train_dataloader = {
        "batch_size": section.batch_size,
        "sampler": {"type": "InfiniteSampler", "shuffle": True},
        "dataset": {**train, "pipeline": cfg.train_pipeline},
        **workers,
    }
    never = section.iterations + 1  # the loop's own validation; see ValidationHook
    cfg.train_cfg = {
        "type": "IterBasedTrainLoop",
        "max_iters": section.iterations,
        "val_begin": never,
        "val_interval": never,
    }
    if val is not None:
        cfg.val_dataloader = {
            "batch_size": 1,  # images may differ in size
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "dataset": {**val, "pipeline": cfg.test_pipeline, "test_mode": True},
            **workers,
        }
        cfg.val_cfg = {"type": "ValLoop"}
        cfg.val_evaluator = {"type": "IoUMetric", "iou_metrics": ["mIoU"]}
    cfg.default_hooks = {
        "logger": None,  # the progress bar and training.json take its place
        "checkpoint": {
            "type": "CheckpointHook",
            "by_epoch": False,
            "interval": section.checkpoint_interval,
            "max_keep_ckpts": 2,  # the older one is removed before the new one is written
        },
    }
    cfg.visualizer = {"type": "Visualizer", "vis_backends": []}
    cfg.log_processor = {"by_epoch": False}
    cfg.log_level = "ERROR"
    cfg.default_scope = "mmseg"
    cfg.randomness = {"seed": section.seed}
    cfg.device = choose_device(section.device)
    return cfg


def drop_type(items: list[dict[str, Any]], name: str) -> None:
    """Remove the entries of this type from a config's list, in place."""
    items[:] = [item for item in items if item["type"] != name]


def set_class_count(model: dict[str, Any], count: int) -> None:
    """Set ``num_classes`` wherever a model's config has it: decode head and auxiliary heads."""
    for key, value in model.items():
        if key == "num_classes":
            model[key] = count
        for part in value if isinstance(value, list | tuple) else [value]:
            if isinstance(part, dict):
                set_class_count(part, count)


def fingerprint(cfg: Config, data: str, root: Path) -> str:
    """The name of a training: a hash of its config, data, code and PyTorch version.

    Args:
        cfg: see `build_config`.
        data: digest of the data that is trained on and validated with.
        root: the repository root.
    """
    here = Path(__file__).parents[1]
    files = [path for pattern in CODE for path in sorted(here.glob(pattern))]
    code = combine({path.name: records.content_id(path.read_text()) for path in files})
    said = json.dumps(cfg.to_dict(), sort_keys=True).replace(str(root.resolve()), "")
    return records.content_id("training", said, data, code, torch.__version__)


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the highest iteration that was written to its end, or None."""
    found = sorted(folder.glob("iter_*.pth"), key=lambda path: int(path.stem[5:]), reverse=True)
    return next((path for path in found if zipfile.is_zipfile(path)), None)


class _DeviceRunner(Runner):
    """A `Runner` on the device that the config names; MMEngine would take any GPU it finds."""

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Move the model; channels last is the layout in which convolutions run fastest."""
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # no stub
        return model.to(self.cfg.device)

    def dump_config(self) -> None:
        """Write nothing: the config is kept with the finished training."""


def train(cfg: Config, data: str, what: str, root: Path) -> Path:
    """Train, or continue or take over the same training from the store.

    Args:
        cfg: see `build_config`.
        data: see `fingerprint`.
        what: what to call it in the progress bar.
        root: the repository root.

    Returns:
        A folder with ``weights.pth`` (a plain state dict on the CPU), ``config.py`` and
        ``training.json`` (see `summary`).
    """
    name = fingerprint(cfg, data, root)
    work = root / STORE / name
    finished = work / "finished"
    if finished.is_dir():
        log.info("%s: the same training is finished already, in %s", what, finished)
        return finished
    checkpoint = latest_checkpoint(work)
    runner = build_runner(cfg, work, f"{name}-{next(_trainings)}", checkpoint)
    begin = int(checkpoint.stem[5:]) if checkpoint else 0
    if begin:
        log.info("%s: continues from iteration %d of %d", what, begin, runner.max_iters)
    with progress(what, runner.max_iters - begin, "iterations") as advance:
        runner.register_hook(ProgressHook(advance))
        runner.train()
    partial = work / "finished.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    weights = {key: value.cpu() for key, value in runner.model.state_dict().items()}
    torch.save(weights, partial / "weights.pth")
    cfg.dump(partial / "config.py")
    records.write_json(partial / "training.json", summary(runner))
    partial.rename(finished)
    for leftover in work.iterdir():
        if leftover.is_dir() and leftover != finished:
            shutil.rmtree(leftover)
        elif leftover.is_file():
            leftover.unlink()
    return finished


def build_runner(cfg: Config, work: Path, experiment: str, checkpoint: Path | None) -> Runner:
    """The runner of a training, to be resumed from ``checkpoint`` if there is one."""
    run_cfg = deepcopy(cfg)
    run_cfg.work_dir = str(work)
    run_cfg.experiment_name = experiment
    run_cfg.load_from = str(checkpoint) if checkpoint else None
    run_cfg.resume = checkpoint is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MMEngine about its own defaults
        runner = _DeviceRunner.from_cfg(run_cfg)
    if cfg.get("val_cfg") is not None:
        runner.register_hook(ValidationHook(cfg.default_hooks.checkpoint.interval))
    runner.register_hook(IterationSeedHook(cfg.randomness.seed))
    return runner


def hand_over(finished: Path, folder: Path) -> dict[str, Any]:
    """Copy a finished training's ``config.py`` and ``weights.pth``; returns its report."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("config.py", "weights.pth"):
        shutil.copyfile(finished / name, folder / name)
    report: dict[str, Any] = records.read_json(finished / "training.json")
    return report


def summary(runner: Runner) -> dict[str, Any]:
    """What a finished training reports.

    Returns:
        ``iterations``; ``images``, the size of the training set; ``final_loss``, the mean over the
        last tenth; ``curve``, the loss as [iteration, mean since the point before]; ``val``, mIoU
        (0..1) on the validation images as [iteration, mIoU]; ``reliability``, where it was used, as
        [iteration, its strength, mean weight of a pixel].
    """
    scalars = runner.message_hub.log_scalars
    losses = scalars["train/loss"].data[0]
    validated = []
    if "val/mIoU" in scalars:
        interval = runner.cfg.default_hooks.checkpoint.interval
        due = [*range(interval, runner.max_iters, interval), runner.max_iters]
        percent = scalars["val/mIoU"].data[0]
        validated = [[at, round(v / 100, 4)] for at, v in zip(due, percent, strict=True)]
    result = {
        "iterations": runner.max_iters,
        "images": len(runner.train_dataloader.dataset),
        "final_loss": round(float(np.mean(losses[-max(1, len(losses) // 10) :])), 5),
        "curve": mean_curve(losses),
        "val": validated,
    }
    if "train/reliability_strength" in scalars:
        strengths = mean_curve(scalars["train/reliability_strength"].data[0])
        weights = mean_curve(scalars["train/reliability_weight"].data[0])
        result["reliability"] = [
            [at, strength, weight]
            for (at, strength), (_, weight) in zip(strengths, weights, strict=True)
        ]
    return result


def mean_curve(values: Sequence[float], points: int = CURVE_POINTS) -> list[list[float]]:
    """A series of one value per iteration as at most ``points`` of [last iteration, mean]."""
    parts = np.array_split(np.asarray(values, float), min(points, len(values)))
    ends = np.cumsum([len(part) for part in parts])
    return [[int(end), round(float(part.mean()), 5)] for end, part in zip(ends, parts, strict=True)]
