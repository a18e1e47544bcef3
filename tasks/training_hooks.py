"""MMEngine hooks of every training: progress, validation before checkpoints, repeatable chance."""

import random
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from tasks.progress import Advance
from tasks.records import content_seed


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


class ValidationHook(Hook):
    """Validates every ``interval`` iterations and at the end, before the checkpoint is written.

    MMEngine's own loop validates after the checkpoint: a training that is resumed from that one
    would miss the value.

    Args:
        interval: iterations from one validation to the next.
    """

    priority = "LOW"

    def __init__(self, interval: int) -> None:
        self.interval = interval

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Run the validation loop where it is due."""
        if self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner):
            runner.val_loop.run()


class IterationSeedHook(Hook):
    """Seeds every iteration on its own, so that a resumed training draws what the first one drew.

    NumPy and Python draw when the batch is loaded, so they are seeded as soon as the iteration
    before is over; PyTorch draws in the network. With ``num_workers`` above 0 the augmentations are
    drawn in the workers, whose own seeds start anew in a resumed training.

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
        torch.manual_seed(content_seed("network", self.seed, runner.iter))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Seed the loading of the next batch."""
        self._seed_loading(runner.iter + 1)

    def _seed_loading(self, iteration: int) -> None:
        value = content_seed("loading", self.seed, iteration)
        random.seed(value)
        np.random.seed(value % 2**32)
