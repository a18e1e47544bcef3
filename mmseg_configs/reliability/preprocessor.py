"""Padding of a batch for samples that carry a reliability map."""

from typing import Any

from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS
from torch.nn.functional import pad


@MODELS.register_module()
class ReliabilityDataPreProcessor(SegDataPreProcessor):
    """`SegDataPreProcessor` that pads reliability maps as it pads the label maps: with 0, no trust.

    The stock one pads images and label maps at the right and bottom and leaves other maps alone.
    """

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Preprocess a batch."""
        batch: dict[str, Any] = super().forward(data, training)
        for sample in batch["data_samples"] or ():
            if "gt_reliability" in sample:
                reliability = sample.gt_reliability.data
                height, width = sample.gt_sem_seg.shape
                below, right = height - reliability.shape[-2], width - reliability.shape[-1]
                padded = pad(reliability, (0, right, 0, below), value=0.0)
                sample.set_data({"gt_reliability": PixelData(data=padded)})
        return batch
