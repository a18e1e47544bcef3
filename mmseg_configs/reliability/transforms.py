"""The reliability map's way through MMSegmentation's pipeline, from the file to the data sample."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmengine.structures import PixelData
from mmseg.datasets.transforms import PackSegInputs
from mmseg.registry import TRANSFORMS

from tasks.label_maps import decode


@TRANSFORMS.register_module()
class LoadReliability(BaseTransform):
    """Reads the reliability map that belongs to a label map.

    Required keys: ``reliability_path``, ``gt_seg_map``, ``seg_fields``. Added key:
    ``gt_reliability``, ``uint8 (H, W)`` with 0..255 meaning 0..1. Its name joins ``seg_fields``:
    what resizes, crops, flips or rotates the label map then does the same to the reliability. Where
    rotating uncovers pixels both are 255, and the label is ignored there.
    """

    def transform(self, results: dict) -> dict:
        """Add the map.

        Raises:
            ValueError: it is not 8-bit grey of the label map's size.
        """
        path = results["reliability_path"]
        reliability = decode(fileio.get(path))
        expected = results["gt_seg_map"].shape
        if reliability.dtype != np.uint8 or reliability.shape != expected:
            raise ValueError(
                f"{path}: a reliability map must be uint8 {expected} like its label map, not "
                f"{reliability.dtype} {reliability.shape}"
            )
        results["gt_reliability"] = reliability
        results["seg_fields"].append("gt_reliability")
        return results


@TRANSFORMS.register_module()
class PackReliabilityInputs(PackSegInputs):
    """`PackSegInputs` that packs ``gt_reliability`` too, if there is one.

    It becomes the data sample's ``gt_reliability``: `PixelData`, ``float32 (1, H, W)``, 0..1.
    """

    def transform(self, results: dict) -> dict:
        """Pack the inputs."""
        packed = super().transform(results)
        if "gt_reliability" in results:
            data = torch.from_numpy(np.ascontiguousarray(results["gt_reliability"])).float() / 255
            packed["data_samples"].set_data({"gt_reliability": PixelData(data=data[None])})
        return packed
