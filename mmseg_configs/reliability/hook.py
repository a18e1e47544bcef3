"""How far reliability is used over time."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner


def strength_at(progress: float, warmup: float, fade: float) -> float:
    """How much the reliability counts: 0 during the warm-up, then a line up to 1.

    Args:
        progress: share of the training that is done, 0..1.
        warmup: share of the training in which all pixels weigh the same.
        fade: share of the training, after the warm-up, over which the weights fade in.
    """
    if fade == 0:
        return float(progress >= warmup)
    return min(max((progress - warmup) / fade, 0.0), 1.0)


@HOOKS.register_module()
class ReliabilityHook(Hook):
    """Owns ``reliability_strength`` of a `ReliabilityEncoderDecoder`, and logs it.

    At first all labels count alike: the network learns what the classes look like from everything
    there is. Then the weights fade in, and where the labels are doubtful it keeps its own opinion.

    The strength goes to the log as ``train/reliability_strength``, beside the mean weight of a
    pixel, ``train/reliability_weight``, that the segmentor reports.

    Args:
        warmup, fade: see `strength_at`.
    """

    def __init__(self, warmup: float = 0.1, fade: float = 0.2) -> None:
        if warmup < 0 or fade < 0 or warmup + fade > 1:
            raise ValueError(f"warmup and fade are shares of the training, not {warmup} and {fade}")
        self.warmup, self.fade = warmup, fade

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Set the strength for the iteration that begins."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        strength = strength_at(runner.iter / runner.max_iters, self.warmup, self.fade)
        model.reliability_strength = strength
        runner.message_hub.update_scalar("train/reliability_strength", strength)
