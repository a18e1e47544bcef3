"""The segmentor through which reliability reaches the loss of every head.

A decode head computes its loss without seeing the data samples, but asks its pixel sampler for a
weight per pixel first. The segmentor gives all heads one sampler that answers with the batch's
weights, so any network and any loss that takes ``weight`` can be used as it is.
"""

from typing import Any

import torch
from mmseg.models import EncoderDecoder
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS
from mmseg.structures import BasePixelSampler
from torch import Tensor

from mmseg_configs.reliability.losses import pixel_weights


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

    Attributes:
        reliability_strength: see `pixel_weights`; `ReliabilityHook` moves it over time.

    Raises:
        ValueError: a head cannot take pixel weights: it samples pixels already, or computes its
            loss in a way of its own.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reliability_strength = 1.0
        self._weights = BatchWeights()
        for name, head in self.named_modules():
            if not isinstance(head, BaseDecodeHead):
                continue
            if head.sampler is not None:
                raise ValueError(f"{name}: takes reliability as pixel weights; remove its sampler")
            if type(head).loss_by_feat is not BaseDecodeHead.loss_by_feat:
                raise ValueError(
                    f"{name}: {type(head).__name__} computes its loss in its own way, past the "
                    "reliability; choose another head, or reliability: none with EncoderDecoder"
                )
            head.sampler = self._weights

    def loss(self, inputs: Tensor, data_samples: list) -> dict:
        """The heads' losses and, for the log, ``reliability_weight``, a pixel's mean weight."""
        weights = self._batch_weights(data_samples)
        self._weights.current = weights
        try:
            losses: dict = super().loss(inputs, data_samples)
        finally:
            self._weights.current = None
        if weights is not None:
            losses["reliability_weight"] = weights.mean()
        return losses

    def _batch_weights(self, data_samples: list) -> Tensor | None:
        if not any("gt_reliability" in sample for sample in data_samples):
            return None
        maps = [
            sample.gt_reliability.data
            if "gt_reliability" in sample
            else torch.ones_like(sample.gt_sem_seg.data, dtype=torch.float32)
            for sample in data_samples
        ]
        return pixel_weights(torch.cat(maps), self.reliability_strength)
