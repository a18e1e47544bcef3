"""What the hooks of a training do at which iteration."""

import random
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.logging import MessageHub

from tasks.training_hooks import IterationSeedHook, ProgressHook, ValidationHook


def test_an_iteration_draws_the_same_whatever_came_before_it() -> None:
    def draws(iterations: range, noise: int) -> tuple[float, float, float]:
        hook = IterationSeedHook(seed=3)
        runner = SimpleNamespace(iter=iterations[0])
        hook.before_train(runner)
        for iteration in iterations:
            runner.iter = iteration
            loaded = (random.random(), np.random.rand())
            torch.rand(noise)
            hook.before_train_iter(runner, iteration)
            drawn = (*loaded, torch.rand(1).item())
            hook.after_train_iter(runner, iteration)
        return drawn

    assert draws(range(6), noise=0) == draws(range(4, 6), noise=5)
    assert draws(range(6), noise=0) != draws(range(5), noise=0)


def test_validation_is_due_every_interval_and_at_the_end() -> None:
    done: list[int] = []
    runner = SimpleNamespace(iter=0, max_iters=7)
    runner.val_loop = SimpleNamespace(run=lambda: done.append(runner.iter + 1))
    hook = ValidationHook(interval=3)
    for iteration in range(7):
        runner.iter = iteration
        hook.after_train_iter(runner, iteration)
    assert done == [3, 6, 7]


def test_progress_shows_the_mean_of_the_last_losses() -> None:
    shown: list[tuple[int, str]] = []
    hub = MessageHub.get_instance("test_progress_hook")
    hook = ProgressHook(lambda count, note="": shown.append((count, note)), window=2)
    for loss in (4.0, 2.0, 1.0):
        hub.update_scalar("train/loss", loss)
        hook.after_train_iter(SimpleNamespace(message_hub=hub), 0)
    assert shown == [(1, "loss 4.000"), (1, "loss 3.000"), (1, "loss 1.500")]
