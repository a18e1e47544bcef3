"""What the hooks of a training do at which iteration."""

import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub

from mmseg_configs.reliability import ReliabilityHook
from tasks.params import InputError
from tasks.training_hooks import (
    DivergenceHook,
    IterationSeedHook,
    ProgressHook,
    ValidationHook,
    kept_weights,
)


def test_an_iteration_draws_the_same_whatever_came_before_it() -> None:
    def draws(iterations: range, noise: int) -> tuple[float, float, float]:
        hook = IterationSeedHook(seed=3)
        runner = SimpleNamespace(iter=iterations[0])
        hook.before_train(runner)
        for iteration in iterations:
            runner.iter = iteration
            loaded = (random.random(), np.random.rand())  # noqa: NPY002  as transforms draw
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
    runner.val_loop = SimpleNamespace(run=lambda: done.append(runner.iter + 1) or {"mIoU": 12.345})
    hook = ValidationHook(interval=3)
    for iteration in range(7):
        runner.iter = iteration
        hook.after_train_iter(runner, iteration)
    assert done == [3, 6, 7]
    assert hook.values == [[3, 0.1235], [6, 0.1235], [7, 0.1235]]


def watch(hook: ValidationHook, percents: list[float]) -> SimpleNamespace:
    """Validate once an iteration until the training is stopped."""
    values = iter(percents)
    runner = SimpleNamespace(iter=0, max_iters=100, work_dir="none")
    runner.train_loop = SimpleNamespace(stop_training=False)
    runner.val_loop = SimpleNamespace(run=lambda: {"mIoU": next(values)})
    for iteration in range(len(percents)):
        if not runner.train_loop.stop_training:
            runner.iter = iteration
            hook.after_train_iter(runner, iteration)
    return runner


def test_patience_counts_from_the_first_best() -> None:
    hook = ValidationHook(interval=1, patience=2)
    runner = watch(hook, [30.0, 50.0, 50.0, 40.0, 60.0])
    assert runner.train_loop.stop_training
    assert len(hook.values) == 4
    assert not watch(ValidationHook(interval=1), [50.0] * 9).train_loop.stop_training


def test_a_training_that_had_stopped_stays_stopped_when_it_is_resumed() -> None:
    stopped, resumed = (ValidationHook(interval=1, patience=1) for _ in range(2))
    runner = watch(stopped, [50.0, 40.0])
    checkpoint: dict = {}
    stopped.before_save_checkpoint(runner, checkpoint)
    resumed.after_load_checkpoint(runner, checkpoint)
    runner.train_loop.stop_training = False
    resumed.before_train(runner)
    assert runner.train_loop.stop_training


def test_the_kept_iteration_is_the_last_or_the_best() -> None:
    runner = SimpleNamespace(iter=9)
    for keep, kept in (("last", 9), ("best", 4)):
        hook = ValidationHook(interval=2, keep=keep)
        hook.values = [[2, 0.1], [4, 0.3], [6, 0.2], [8, 0.3]]
        assert hook.kept(runner) == kept


def test_best_weights_of_iterations_that_were_taken_back_are_dropped(tmp_path: Path) -> None:
    runner = SimpleNamespace(work_dir=str(tmp_path), iter=4, train_loop=SimpleNamespace(), hooks=[])
    hook = ValidationHook(interval=2, keep="best")
    runner.hooks.append(hook)
    for iteration in (2, 4, 6):
        torch.save({"at": torch.tensor(iteration)}, tmp_path / f"best_{iteration}.pth")
    hook.values = [[2, 0.3], [4, 0.2]]  # the checkpoint of iteration 6 was not written
    hook.before_train(runner)
    assert [path.name for path in tmp_path.iterdir()] == ["best_2.pth"]
    assert kept_weights(runner)["at"] == 2


def test_progress_shows_the_mean_of_the_last_losses() -> None:
    shown: list[tuple[int, str]] = []
    hub = MessageHub.get_instance("test_progress_hook")
    hook = ProgressHook(lambda count, note="": shown.append((count, note)), window=2)
    for loss in (4.0, 2.0, 1.0):
        hub.update_scalar("train/loss", loss)
        hook.after_train_iter(SimpleNamespace(message_hub=hub, hooks=[]), 0)
    assert shown == [(1, "loss 4.000"), (1, "loss 3.000"), (1, "loss 1.500")]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_training(loss: float) -> None:
    hub = MessageHub.get_instance(f"test_divergence_{loss}")
    runner = SimpleNamespace(message_hub=hub, iter=6)
    hub.update_scalar("train/loss", 1.0)
    DivergenceHook().after_train_iter(runner, 6)
    hub.update_scalar("train/loss", loss)
    with pytest.raises(InputError, match=f"the loss is {loss} at iteration 7; set dtype: float32"):
        DivergenceHook().after_train_iter(runner, 6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_checkpoint_is_written_of_weights_that_are_no_numbers(value: float) -> None:
    runner = SimpleNamespace(iter=6)
    weights = {"count": torch.tensor(3), "weight": torch.tensor([1.0, 2.0])}
    DivergenceHook().before_save_checkpoint(runner, {"state_dict": weights})
    weights["bn.running_var"] = torch.tensor([1.0, value])
    with pytest.raises(InputError, match=r"bn\.running_var is not finite at iteration 7, so no ch"):
        DivergenceHook().before_save_checkpoint(runner, {"state_dict": weights})


def test_progress_shows_what_reliability_came_to() -> None:
    shown: list[str] = []
    hub = MessageHub.get_instance("test_progress_of_reliability")
    hub.update_scalar("train/loss", 1.0)
    reliability = ReliabilityHook()
    runner = SimpleNamespace(message_hub=hub, hooks=[reliability])
    hook = ProgressHook(lambda count, note="": shown.append(note))
    for row in ({"reliable": 0.75}, {"reliable": 0.5, "agreement": 0.875}, {"reliable": None}):
        reliability.history.append({"iteration": 1, **row})
        hook.after_train_iter(runner, 0)
    assert shown == [
        "loss 1.000, reliable 0.75",
        "loss 1.000, reliable 0.50, agreement 0.88",
        "loss 1.000",
    ]
