"""MMEngine hooks of every training: progress, validation and what it decides, repeatable chance."""

import math
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

from mmseg_configs.reliability import ReliabilityHook
from tasks.durable import new_file
from tasks.params import InputError
from tasks.progress import Advance
from tasks.records import content_seed

H = TypeVar("H", bound=Hook)

BEST = "best_"
"""Begins the names of files with best weights; the iteration follows."""


class ProgressHook(Hook):
    """Tells a progress bar of each iteration, with the loss averaged over the last ones.

    Where reliability is used, also with the share of pixels that count, and, in co-training, of
    those on which the two networks agree, over the last interval of `ReliabilityHook`.

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
        said = [f"loss {loss:.3f}"]
        reliability = find_hook(runner, ReliabilityHook)
        row = reliability.history[-1] if reliability and reliability.history else {}
        told = ("reliable", "agreement")
        said += [f"{name} {row[name]:.2f}" for name in told if row.get(name) is not None]
        self.advance(1, ", ".join(said))


@HOOKS.register_module()
class DivergenceHook(Hook):
    """Stops a training whose loss or weights are no numbers, before a checkpoint is written of it.

    Raises:
        InputError: the loss of an iteration is infinite or NaN, or a weight is when a checkpoint
            is due: an update can spoil the weights of which no loss has told yet.
    """

    priority = "HIGH"
    REMEDY = (
        "set dtype: float32 or a lower learning_rate. With either a new training begins; as it is, "
        "this one would go on from its last checkpoint"
    )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look at the loss."""
        loss = float(runner.message_hub.get_scalar("train/loss").current())
        if not math.isfinite(loss):
            raise InputError(
                f"train_segmenter: the loss is {loss} at iteration {runner.iter + 1}; {self.REMEDY}"
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Look at the weights, and at buffers such as the means of batch norm."""
        for name, value in checkpoint["state_dict"].items():
            if value.is_floating_point() and not value.isfinite().all():
                raise InputError(
                    f"train_segmenter: {name} is not finite at iteration {runner.iter + 1}, so no "
                    f"checkpoint was written; {self.REMEDY}"
                )


class CurvesHook(Hook):
    """Writes loss, learning rate, held-out mIoU and reliability for TensorBoard, as they come.

    Args:
        folder: of one training; a resumed one goes on there.
        interval: iterations that one point of the loss is the mean of.

    Raises:
        ImportError: TensorBoard is missing.
    """

    priority = "VERY_LOW"

    def __init__(self, folder: Path, interval: int = 10) -> None:
        from torch.utils.tensorboard import SummaryWriter  # an extra

        self.folder, self.interval = folder, interval
        self._new_writer = SummaryWriter

    def before_train(self, runner: Runner) -> None:
        """Open the file; points after a resumed training's checkpoint are taken back."""
        self.writer = self._new_writer(self.folder, purge_step=runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Add the points that this iteration completes."""
        iteration = runner.iter + 1
        if iteration % self.interval == 0:
            loss = runner.message_hub.get_scalar("train/loss").mean(self.interval)
            self.writer.add_scalar("loss", loss, iteration)
            self.writer.add_scalar(
                "learning rate", runner.optim_wrapper.get_lr()["lr"][0], iteration
            )
        watching = find_hook(runner, ValidationHook)
        if watching and watching.values and watching.values[-1][0] == iteration:
            self.writer.add_scalar("held-out mIoU", watching.values[-1][1], iteration)
        reliability = find_hook(runner, ReliabilityHook)
        if (
            reliability
            and reliability.history
            and reliability.history[-1]["iteration"] == iteration
        ):
            row = dict(reliability.history[-1])
            by_class = row.pop("reliable_by_class")
            row |= {f"by class/{name}": share for name, share in by_class.items()}
            for name, value in row.items():
                if isinstance(value, float):
                    self.writer.add_scalar(f"reliability/{name}", value, iteration)

    def after_train(self, runner: Runner) -> None:
        """Write what is left."""
        self.writer.close()


@HOOKS.register_module()
class ValidationHook(Hook):
    """Validates every ``interval`` iterations and at the end, before the checkpoint is written.

    MMEngine's own loop validates after the checkpoint: a training that is resumed from that one
    would miss the value. The values are part of the checkpoint; the best weights lie beside it, by
    their iteration: a training that is killed between the two goes on without them.

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
        """Drop best weights of iterations that a kill took back; stay stopped if it had stopped."""
        if is_main_process():
            kept = best_path(runner, self.kept(runner)) if self.values else None
            for path in Path(runner.work_dir).glob(f"{BEST}*.pth"):
                if path != kept:
                    path.unlink()
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
            with new_file(best_path(runner, runner.iter + 1)) as file:
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


def best_path(runner: Runner, iteration: int) -> Path:
    """Where the weights of an iteration lie that were the best so far, while a training goes on."""
    return Path(runner.work_dir) / f"{BEST}{iteration}.pth"


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
        best: dict[str, Tensor] = torch.load(
            best_path(runner, watching.kept(runner)), weights_only=True
        )
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
        np.random.seed(value % 2**32)  # noqa: NPY002  transforms draw from the global generator
