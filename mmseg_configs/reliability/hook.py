"""Reliability over time: when it begins to count, and what came of it."""

import logging
from typing import Any

import torch
from mmengine.dist import get_rank, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmseg_configs.reliability.batch import Phase
from mmseg_configs.reliability.co_training import CoTrainingSegmentor
from tasks.params import BACKGROUND_NAME
from tasks.records import content_seed

log = logging.getLogger(__name__)


def strength_at(progress: float, warmup: float, fade: float) -> float:
    """How much the reliability counts: 0 during the warm-up, then a line up to 1.

    Args:
        progress: share of the training that is done, 0..1.
        warmup: share of the training in which all labels count alike.
        fade: share of the training, after the warm-up, over which reliability comes to count.
    """
    if fade == 0:
        return float(progress >= warmup)
    return min(max((progress - warmup) / fade, 0.0), 1.0)


def in_words(row: dict[str, Any]) -> str:
    """A row of `ReliabilityHook.history` for the log; classes that no pixel had are left out."""
    said = [f"iteration {row['iteration']}: reliable {row['reliable'] or 0:.2f}"]
    shares = {name: share for name, share in row["reliable_by_class"].items() if share is not None}
    if shares:
        said.append(
            "by class " + ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        )
    if row.get("agreement") is not None:
        said.append(f"agreement {row['agreement']:.2f}")
    return "; ".join(said)


@HOOKS.register_module()
class ReliabilityHook(Hook):
    """Owns the `Phase` of the segmentor, and what is counted of its labels.

    At first all labels count alike: the networks learn what the classes look like from everything
    there is. Then reliability fades in: weights move from 1 to what the map says, and the quantile
    below which pixels are unreliable moves from 0 to its full value; what falls below it is ignored
    or, in co-training, taught by the other network. Networks from scratch know little for long:
    until ``cross_from`` what is doubtful teaches nothing. ClassMix begins when told.

    Chance is drawn from the seed, the iteration and the process alone, so a resumed training draws
    what an uninterrupted one does. A checkpoint keeps the history, the interval's counts and the
    batch that ClassMix pastes from. Those two are the first process's: of several, the others begin
    a resumed training with no batch to paste from, until their first one that is not mixed.

    Args:
        warmup, fade: see `strength_at`.
        cross_from: share of the training after which co-training's networks teach each other.
        classmix: probability of ClassMix for a batch; only co-training has it.
        classmix_from: share of the training after which ClassMix begins.
        interval: iterations that one row of the history is about.
        seed: the training's.

    Attributes:
        history: rows of ``iteration``, ``strength`` and what `Counts.read` says.
    """

    def __init__(
        self,
        warmup: float = 0.1,
        fade: float = 0.2,
        cross_from: float = 0.0,
        classmix: float = 0.0,
        classmix_from: float = 0.3,
        interval: int = 50,
        seed: int = 0,
    ) -> None:
        if warmup < 0 or fade < 0 or warmup + fade > 1:
            raise ValueError(f"warmup and fade are shares of the training, not {warmup} and {fade}")
        self.warmup, self.fade = warmup, fade
        self.cross_from, self.classmix, self.classmix_from = cross_from, classmix, classmix_from
        self.interval, self.seed = interval, seed
        self.history: list[dict[str, Any]] = []

    def before_train(self, runner: Runner) -> None:
        """Tell the networks which label is the background, if one is."""
        if isinstance(_model(runner), CoTrainingSegmentor):
            names = runner.train_dataloader.dataset.metainfo["classes"]
            _model(runner).background = 0 if names[0] == BACKGROUND_NAME else None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Set the phase for the iteration that begins."""
        progress = runner.iter / runner.max_iters
        seed = content_seed("classmix", self.seed, runner.iter, get_rank())
        _model(runner).phase = Phase(
            strength_at(progress, self.warmup, self.fade),
            self.classmix if progress >= self.classmix_from else 0.0,
            torch.Generator().manual_seed(seed),
            progress >= self.cross_from,
        )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Close the interval where one ends."""
        if not (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            return
        model = _model(runner)
        names = runner.train_dataloader.dataset.metainfo["classes"]
        model.counts.gather()
        row = model.counts.read(names, isinstance(model, CoTrainingSegmentor))
        model.counts.reset()
        strength = round(model.phase.strength, 4)
        self.history.append({"iteration": runner.iter + 1, "strength": strength, **row})
        if is_main_process():
            log.info(in_words(self.history[-1]))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put the state in."""
        state = _model(runner).reliability_state()
        checkpoint["reliability"] = {"history": self.history, **state}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Go on from the state."""
        state = checkpoint["reliability"]
        self.history = state["history"]
        _model(runner).load_reliability_state(state)
        if not is_main_process():  # the first process wrote them, and has them
            _model(runner).counts.reset()
            if isinstance(_model(runner), CoTrainingSegmentor):
                _model(runner).classmix.partners = None


def _model(runner: Runner) -> Any:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
