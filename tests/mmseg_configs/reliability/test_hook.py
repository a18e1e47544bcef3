"""The schedule of reliability, and what a resumed training keeps of it."""

from collections.abc import Callable
from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmseg_configs.reliability.batch import Counts, Phase
from mmseg_configs.reliability.classmix import Labelled
from mmseg_configs.reliability.hook import ReliabilityHook, strength_at
from tasks.segmenter import build_network

MODULE = ReliabilityHook.__module__


@pytest.mark.parametrize(("progress", "expected"), [(0, 0), (0.1, 0), (0.2, 0.5), (0.3, 1), (1, 1)])
def test_strength_is_zero_then_a_line_then_one(progress: float, expected: float) -> None:
    assert strength_at(progress, warmup=0.1, fade=0.2) == pytest.approx(expected)


def test_strength_without_a_fade_is_a_step() -> None:
    assert [strength_at(p, warmup=0.5, fade=0) for p in (0.49, 0.5)] == [0, 1]
    assert strength_at(0, warmup=0, fade=0) == 1


class Runner(SimpleNamespace):
    """As much of a runner as the hook looks at, with a `Counts` for a model."""

    def __init__(self) -> None:
        dataset = SimpleNamespace(metainfo={"classes": ("background", "car")})
        super().__init__(
            model=nn.Identity(),
            iter=0,
            max_iters=10,
            train_dataloader=SimpleNamespace(dataset=dataset),
        )
        self.model.counts = Counts(2)
        self.model.reliability_state = lambda: {"counts": self.model.counts.state()}
        self.model.load_reliability_state = lambda state: self.model.counts.load(state["counts"])


def run(hook: ReliabilityHook, runner: Runner, iterations: range) -> list[Phase]:
    """The phase by iteration; in each a pixel of class 1 is counted."""
    phases = []
    for iteration in iterations:
        runner.iter = iteration
        hook.before_train_iter(runner, iteration)
        phases.append(runner.model.phase)
        weight = torch.tensor([float(iteration % 2)])
        runner.model.counts.add(torch.tensor([1]), weight, ignore_index=255)
        hook.after_train_iter(runner, iteration)
    return phases


def test_the_hook_sets_the_phase_and_closes_intervals() -> None:
    runner = Runner()
    hook = ReliabilityHook(0.2, 0.4, cross_from=0.3, classmix=0.5, classmix_from=0.7, interval=4)
    phases = run(hook, runner, range(10))
    strengths = [phase.strength for phase in phases]
    assert strengths == pytest.approx([0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1])
    assert [phase.cross for phase in phases] == [False] * 3 + [True] * 7
    assert [phase.classmix for phase in phases] == [0] * 7 + [0.5] * 3
    assert [row["iteration"] for row in hook.history] == [4, 8, 10]
    assert hook.history[0] == {
        "iteration": 4,
        "strength": 0.25,
        "reliable": 0.5,
        "reliable_by_class": {"background": None, "car": 0.5},
    }


def test_chance_is_the_iterations_and_the_seeds() -> None:
    def draw(seed: int, iterations: range) -> float:
        runner, hook = Runner(), ReliabilityHook(seed=seed)
        run(hook, runner, iterations)
        return torch.rand((), generator=runner.model.phase.generator).item()

    assert draw(1, range(5)) == draw(1, range(4, 5))
    assert len({draw(1, range(5)), draw(2, range(5)), draw(1, range(6))}) == 3


def test_history_and_counts_go_on_from_a_checkpoint() -> None:
    whole, begun, resumed = (ReliabilityHook(interval=4) for _ in range(3))
    run(whole, Runner(), range(10))
    first, second = Runner(), Runner()
    run(begun, first, range(6))
    checkpoint: dict = {}
    begun.before_save_checkpoint(first, checkpoint)
    resumed.after_load_checkpoint(second, deepcopy(checkpoint))
    run(resumed, second, range(6, 10))
    assert resumed.history == whole.history


def test_only_the_first_process_takes_over_the_batch_that_it_has_kept(
    make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one would paste from a batch that it has never seen."""
    runner, checkpoint = Runner(), {}
    runner.model = build_network(make_config(reliability="co_training"))
    images, labels = torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64)
    runner.model.classmix.partners = Labelled(images, labels, labels > 0)
    ReliabilityHook().before_save_checkpoint(runner, checkpoint)
    for first in (True, False):
        monkeypatch.setattr(f"{MODULE}.is_main_process", lambda first=first: first)
        runner.model = build_network(make_config(reliability="co_training"))
        ReliabilityHook().after_load_checkpoint(runner, deepcopy(checkpoint))
        assert (runner.model.classmix.partners is not None) == first


@pytest.mark.parametrize("shares", [(-0.1, 0.5), (0.2, -1), (0.7, 0.4)])
def test_shares_that_do_not_fit_in_a_training_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="shares of the training"):
        ReliabilityHook(*shares)
