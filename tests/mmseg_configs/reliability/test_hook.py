"""The schedule of the reliability's strength."""

from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub
from torch import nn

from mmseg_configs.reliability.hook import ReliabilityHook, strength_at


@pytest.mark.parametrize(("progress", "expected"), [(0, 0), (0.1, 0), (0.2, 0.5), (0.3, 1), (1, 1)])
def test_strength_is_zero_then_a_line_then_one(progress: float, expected: float) -> None:
    assert strength_at(progress, warmup=0.1, fade=0.2) == pytest.approx(expected)


def test_strength_without_a_fade_is_a_step() -> None:
    assert [strength_at(p, warmup=0.5, fade=0) for p in (0.49, 0.5)] == [0, 1]
    assert strength_at(0, warmup=0, fade=0) == 1


def test_the_hook_sets_the_model_and_logs_what_it_set() -> None:
    model = nn.Identity()
    hub = MessageHub.get_instance("test_reliability_hook")
    runner = SimpleNamespace(model=model, iter=0, max_iters=10, message_hub=hub)
    hook = ReliabilityHook(warmup=0.2, fade=0.4)
    for iteration in range(10):
        runner.iter = iteration
        hook.before_train_iter(runner, iteration)
    logged = hub.get_scalar("train/reliability_strength").data[0]
    assert logged.tolist() == pytest.approx([0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1])
    assert model.reliability_strength == 1


@pytest.mark.parametrize("shares", [(-0.1, 0.5), (0.2, -1), (0.7, 0.4)])
def test_shares_that_do_not_fit_in_a_training_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="shares of the training"):
        ReliabilityHook(*shares)
