"""MMEngine hooks of every training: progress, validation and what it decides, repeatable chance."""

import random
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from mmengine.dist import get_rank, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from tasks.durable import new_file
from tasks.progress import Advance
from tasks.records import content_seed

H = TypeVar("H", bound=Hook)


class ProgressHook(Hook):
    """Tells a progress bar of each iteration, with the loss averaged over the last ones.

    Args:
        advance: what `tasks.progress.progress` gave.
        window: iterations to average over.
    """

    priority = "VERY_LOW"

    def __init__(self, advance: Advance, window: int = 20) -> None:
        self.advance, self.window = advance, window

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Count the iteration."""
        loss = runner.message_hub.get_scalar("train/loss").mean(self.window)
        self.advance(1, f"loss {loss:.3f}")


@HOOKS.register_module()
class ValidationHook(Hook):
    """Validates every ``interval`` iterations and at the end, before the checkpoint is written.

    MMEngine's own loop validates after the checkpoint: a training that is resumed from that one
    would miss the value. The values are part of the checkpoint; the best weights lie beside it.

    Args:
        interval: iterations from one validation to the next.
        keep: ``best``: the weights of the highest mIoU are kept; ``last``: those at the end.
        patience: validations without a higher mIoU after which the training stops; None: never.

    Attributes:
        values: [iteration, mIoU (0..1)] of each validation.
    """

    priority = "LOW"

    def __init__(self, interval: int, keep: str = "last", patience: int | None = None) -> None:
        self.interval, self.keep, self.patience = interval, keep, patience
        self.values: list[list[float]] = []

    @property
    def since_best(self) -> int:
        """Validations since the highest mIoU; the first of equal ones counts."""
        values = [miou for _, miou in self.values]
        return len(values) - 1 - values.index(max(values)) if values else 0

    def kept(self, runner: Runner) -> int:
        """The iteration of the weights that are kept."""
        if self.keep == "last":
            return int(runner.iter)
        return int(self.values[-1 - self.since_best][0])

    def before_train(self, runner: Runner) -> None:
        """Do not go on with a training that had stopped when it was interrupted."""
        self._stop_if_due(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Run the validation loop where it is due."""
        if not (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            return
        percent = float(runner.val_loop.run()["mIoU"])
        self.values.append([runner.iter + 1, round(percent / 100, 4)])
        if self.keep == "best" and not self.since_best and is_main_process():
            with new_file(best_path(runner)) as file:
                torch.save(present_weights(runner), file)
        self._stop_if_due(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put the values in."""
        checkpoint["validation"] = self.values

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Go on from the values."""
        self.values = checkpoint.get("validation", [])

    def _stop_if_due(self, runner: Runner) -> None:
        if self.patience is not None and self.since_best >= self.patience:
            runner.train_loop.stop_training = True


def find_hook(runner: Runner, kind: type[H]) -> H | None:
    """The runner's hook of a kind, if it has one."""
    return next((hook for hook in runner.hooks if isinstance(hook, kind)), None)


def best_path(runner: Runner) -> Path:
    """Where the best weights lie while a training goes on."""
    return Path(runner.work_dir) / "best.pth"


def present_weights(runner: Runner) -> dict[str, Tensor]:
    """The weights as they are, or their moving average where one is kept, on the CPU."""
    average = find_hook(runner, EMAHook)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    source = average.ema_model.module if average else model
    return {key: value.cpu() for key, value in source.state_dict().items()}


def kept_weights(runner: Runner) -> dict[str, Tensor]:
    """The weights that a finished training leaves, see `ValidationHook`."""
    watching = find_hook(runner, ValidationHook)
    if watching and watching.keep == "best":
        best: dict[str, Tensor] = torch.load(best_path(runner), weights_only=True)
        return best
    return present_weights(runner)


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seeds every iteration on its own, so that a resumed training draws what the first one drew.

    NumPy and Python draw when the batch is loaded, so they are seeded as soon as the iteration
    before is over; PyTorch draws in the network. With ``num_workers`` above 0 the augmentations are
    drawn in the workers, whose own seeds start anew in a resumed training. Each process of several
    draws its own.

    Args:
        seed: the training's seed.
    """

    priority = "LOWEST"

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_train(self, runner: Runner) -> None:
        """Seed the loading of the first batch."""
        self._seed_loading(runner.iter)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed the network's chance, such as dropout."""
        torch.manual_seed(content_seed("network", self.seed, runner.iter, get_rank()))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Seed the loading of the next batch."""
        self._seed_loading(runner.iter + 1)

    def _seed_loading(self, iteration: int) -> None:
        value = content_seed("loading", self.seed, iteration, get_rank())
        random.seed(value)
        np.random.seed(value % 2**32)
