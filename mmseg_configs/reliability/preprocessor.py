"""Padding of a batch for samples that carry a reliability map."""

from typing import Any

from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS
from torch.nn.functional import pad


@MODELS.register_module()
class ReliabilityDataPreProcessor(SegDataPreProcessor):
    """`SegDataPreProcessor` that pads reliability maps beside label maps: with 0, no trust.

    The stock one pads images and label maps at the right and bottom and leaves other maps alone.
    What comes in has the label map's size (`PackReliabilityInputs`), and nothing is cropped.
    """

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Preprocess a batch."""
        batch: dict[str, Any] = super().forward(data, training)
        for sample in batch["data_samples"] if training else ():
            if "gt_reliability" in sample:
                padded = pad(sample.gt_reliability.data, sample.padding_size, value=0.0)
                sample.set_data({"gt_reliability": PixelData(data=padded)})
        return batch
