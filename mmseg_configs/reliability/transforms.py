"""The label's and the reliability map's way through MMSegmentation's pipeline."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmengine.structures import PixelData
from mmseg.datasets.transforms import PackSegInputs
from mmseg.registry import TRANSFORMS

from tasks.label_maps import decode, ignore_value

IGNORE_16_BIT = ignore_value(np.uint16)


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """Reads label maps of 16 bits; stock `LoadAnnotations` casts them to 8.

    Required keys: ``seg_map_path``, ``seg_fields``. Added key: ``gt_seg_map``, ``uint16 (H, W)``,
    65535 = ignored; an 8-bit file's 255 becomes that.
    """

    def transform(self, results: dict) -> dict:
        """Add the label map."""
        label = decode(fileio.get(results["seg_map_path"]))
        ignored = label == ignore_value(label.dtype)
        results["gt_seg_map"] = np.where(ignored, np.uint16(IGNORE_16_BIT), label)
        results["seg_fields"].append("gt_seg_map")
        return results


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

    It becomes the data sample's ``gt_reliability``: `PixelData`, ``float32 (1, H, W)``, 0..1. Where
    the dataset says how many classes there are (``class_count``), the labels are held to it.
    """

    def transform(self, results: dict) -> dict:
        """Pack the inputs.

        Raises:
            ValueError: a label is no class of the dataset.
        """
        if "class_count" in results:
            _check_labels(results)
        packed = super().transform(results)
        if "gt_reliability" in results:
            data = torch.from_numpy(np.ascontiguousarray(results["gt_reliability"])).float() / 255
            packed["data_samples"].set_data({"gt_reliability": PixelData(data=data[None])})
        return packed


def _check_labels(results: dict) -> None:
    label, count = results["gt_seg_map"], results["class_count"]
    if label.max() < count:
        return
    wrong = np.setdiff1d(np.unique(label), [*range(count), ignore_value(label.dtype)])
    if wrong.size:
        sample = results.get("sample_id", results["img_path"])
        raise ValueError(
            f"{results['seg_map_path']}: sample {sample} has the label {wrong[0]}, and there are "
            f"{count} classes, 0 to {count - 1}; run the stages that made the dataset again, or "
            "mend the file"
        )
