"""The segmentor through which reliability reaches the loss of every head of one network.

A decode head computes its loss without seeing the data samples, but asks its pixel sampler for a
weight per pixel first. The segmentor gives all heads one sampler that answers with the batch's
weights, so any network can be used as it is, with the losses that weigh every pixel.
"""

from typing import Any, Literal

from mmseg.models import EncoderDecoder
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import CrossEntropyLoss
from mmseg.registry import MODELS
from mmseg.structures import BasePixelSampler
from torch import Tensor, nn

from mmseg_configs.reliability.batch import Counts, Phase, stack_labels, stack_reliability
from mmseg_configs.reliability.losses import (
    GeneralisedCrossEntropy,
    ReliabilityCrossEntropy,
    pixel_weights,
    reliable_pixels,
    urn_trust,
)


class BatchWeights(BasePixelSampler):
    """Answers a head's question for pixel weights with those of the batch at hand."""

    def __init__(self) -> None:
        super().__init__()
        self.current: Tensor | None = None

    def sample(self, seg_logit: Tensor, seg_label: Tensor) -> Tensor | None:
        """The weights ``float (N, H, W)``, or None where the batch has none."""
        return self.current


@MODELS.register_module()
class ReliabilityEncoderDecoder(EncoderDecoder):
    """`EncoderDecoder` whose heads, auxiliary ones included, weigh each pixel by its reliability.

    Samples without a reliability map, such as real labels, are trusted everywhere.

    Args:
        method: ``weighted``: a pixel's weight is its reliability, from ``least`` up to 1;
            ``ignore_band``: ranks below ``quantile`` weigh nothing; ``urn``: the map says how
            certain the label is, and the weight is `urn_trust` with ``sharpness``.
        least, quantile, sharpness: see above.
        kwargs: those of `EncoderDecoder`.

    Attributes:
        phase: set by `ReliabilityHook`: at strength 0 all pixels weigh the same, at 1 as above.

    Raises:
        ValueError: a head cannot take pixel weights: it samples pixels already, or computes its
            loss in a way of its own, or by another one than a cross-entropy per pixel.
    """

    def __init__(
        self,
        method: Literal["weighted", "ignore_band", "urn"] = "weighted",
        least: float = 0.0,
        quantile: float = 0.5,
        sharpness: float = 2.4,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.method, self.least = method, least
        self.quantile, self.sharpness = quantile, sharpness
        self.phase = Phase()
        self.counts = Counts(self.num_classes)
        self._weights = BatchWeights()
        for name, head in self.named_modules():
            if not isinstance(head, BaseDecodeHead):
                continue
            if head.sampler is not None:
                raise ValueError(f"{name}: takes reliability as pixel weights; remove its sampler")
            if type(head).loss_by_feat is not BaseDecodeHead.loss_by_feat:
                raise ValueError(
                    f"{name}: {type(head).__name__} computes its loss in its own way, past the "
                    "reliability; choose another head, or reliability: none"
                )
            losses = head.loss_decode
            for loss in losses if isinstance(losses, nn.ModuleList) else [losses]:
                _check_loss(name, loss)
            head.sampler = self._weights

    def loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Any]:
        """The heads' losses."""
        reliability = stack_reliability(data_samples)
        if reliability is not None:
            label, weights = stack_labels(data_samples), self.weights(reliability)
            self.counts.add(label, weights, self.decode_head.ignore_index)
            self._weights.current = weights
        try:
            losses: dict[str, Any] = super().loss(inputs, data_samples)
        finally:
            self._weights.current = None
        return losses

    def weights(self, reliability: Tensor) -> Tensor:
        """The pixels' weights by the method and the phase, float of the map's shape."""
        strength = self.phase.strength
        if self.method == "ignore_band":
            return reliable_pixels(reliability, strength * self.quantile).float()
        if self.method == "urn":
            trust = urn_trust(1 - reliability, self.sharpness)
        else:
            trust = self.least + (1 - self.least) * reliability
        return pixel_weights(trust, strength)

    def reliability_state(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the weights."""
        return {"counts": self.counts.state()}

    def load_reliability_state(self, state: dict[str, Any]) -> None:
        """Go on from a `reliability_state`."""
        self.counts.load(state["counts"])


def _check_loss(name: str, loss: nn.Module) -> None:
    stock = isinstance(loss, CrossEntropyLoss) and not (loss.use_sigmoid or loss.use_mask)
    if not (stock or isinstance(loss, ReliabilityCrossEntropy | GeneralisedCrossEntropy)):
        raise ValueError(
            f"{name}: reliability needs a softmax CrossEntropyLoss, ReliabilityCrossEntropy or "
            f"GeneralisedCrossEntropy, which weigh every pixel, not {type(loss).__name__}; change "
            "loss_decode, or choose reliability: none"
        )
