"""The label's and the reliability map's way through MMSegmentation's pipeline."""

from typing import Any, Literal

import numpy as np
import torch
from mmcv import impad
from mmcv.transforms import BaseTransform, Pad
from mmengine import fileio
from mmengine.structures import PixelData
from mmseg.datasets.transforms import PackSegInputs
from mmseg.registry import TRANSFORMS

from mmseg_configs.reliability.faults import SampleError, sample_name
from tasks.label_maps import IGNORE_16_BIT, decode, ignore_value


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """Reads label maps of 16 bits; stock `LoadAnnotations` casts them to 8.

    Required keys: ``seg_map_path``, ``seg_fields``. Added key: ``gt_seg_map``, ``uint16 (H, W)``,
    65535 = ignored; an 8-bit file's 255 becomes that.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the label map."""
        label = decode(fileio.get(results["seg_map_path"]))
        ignored = label == ignore_value(label.dtype)
        results["gt_seg_map"] = np.where(ignored, np.uint16(IGNORE_16_BIT), label)
        results["seg_fields"].append("gt_seg_map")
        return results


@TRANSFORMS.register_module()
class LoadReliability(BaseTransform):
    """Reads the map that says how far a label map can be trusted.

    Required keys: ``reliability_path`` or ``uncertainty_path``, ``gt_seg_map``, ``seg_fields``.
    Added key: ``gt_reliability``, ``uint8 (H, W)`` with 0..255 meaning 0..1. Its name joins
    ``seg_fields``: what resizes, crops, flips or rotates the label map then does the same to the
    reliability. Where rotating uncovers pixels both are 255, and the label is ignored there.

    Args:
        source: ``reliability``, or ``uncertainty``, of which it takes the complement to 1.
    """

    def __init__(self, source: Literal["reliability", "uncertainty"] = "reliability") -> None:
        self.source = source

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the map.

        Raises:
            SampleError: there is none, or it is not 8-bit grey of the label map's size.
        """
        name = sample_name(results)
        if f"{self.source}_path" not in results:
            raise SampleError(
                f"{results['seg_map_path']}: sample {name} has no {self.source} map; the dataset "
                "was made without, run extract_masks and filter_masks again"
            )
        path = results[f"{self.source}_path"]
        values = decode(fileio.get(path))
        expected = results["gt_seg_map"].shape
        if values.dtype != np.uint8 or values.shape != expected:
            raise SampleError(
                f"{path}: the {self.source} map of sample {name} must be uint8 {expected} like its "
                f"label map, not {values.dtype} {values.shape}; run extract_masks and filter_masks "
                "again, or mend the file"
            )
        results["gt_reliability"] = 255 - values if self.source == "uncertainty" else values
        results["seg_fields"].append("gt_reliability")
        return results


@TRANSFORMS.register_module()
class PadReliability(Pad):
    """`Pad` that pads ``gt_reliability`` too, with 0: nothing is known of what is made up.

    The stock one pads the image and ``gt_seg_map`` alone. Takes its arguments.
    """

    def _pad_seg(self, results: dict[str, Any]) -> None:
        super()._pad_seg(results)
        if "gt_reliability" in results:
            results["gt_reliability"] = impad(
                results["gt_reliability"], shape=results["pad_shape"][:2], pad_val=0
            )


@TRANSFORMS.register_module()
class PackReliabilityInputs(PackSegInputs):
    """`PackSegInputs` that packs ``gt_reliability`` too, if there is one.

    It becomes the data sample's ``gt_reliability``: `PixelData`, ``float32 (1, H, W)``, 0..1.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pack the inputs.

        Raises:
            SampleError: a transform gave the reliability another size than the label map.
        """
        if "gt_reliability" in results:
            _check_sizes(results)
        packed: dict[str, Any] = super().transform(results)
        packed["data_samples"].set_metainfo({"sample_id": sample_name(results)})
        if "gt_reliability" in results:
            data = torch.from_numpy(np.ascontiguousarray(results["gt_reliability"])).float() / 255
            packed["data_samples"].set_data({"gt_reliability": PixelData(data=data[None])})
        return packed


def _check_sizes(results: dict[str, Any]) -> None:
    reliability, label = (results[key].shape for key in ("gt_reliability", "gt_seg_map"))
    if reliability != label:
        raise SampleError(
            f"{results['seg_map_path']}: the reliability map of sample {sample_name(results)} is "
            f"{reliability} and the label map {label} at the end of train_pipeline; one of "
            "its transforms changes the label map alone, take it out"
        )
