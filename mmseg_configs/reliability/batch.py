"""What a batch says of its labels and of their reliability, and how that is counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_configs.reliability.faults import SampleError, sample_name


@dataclass(frozen=True)
class Phase:
    """Where in its schedule a training is; `ReliabilityHook` sets it before every iteration.

    Attributes:
        strength: how much reliability counts, 0..1.
        classmix: the probability of ClassMix.
        generator: chance of this iteration, on the CPU; None is PyTorch's own.
        cross: whether the networks of a co-training teach each other yet.
    """

    strength: float = 1.0
    classmix: float = 0.0
    generator: torch.Generator | None = None
    cross: bool = True


def stack_labels(samples: Sequence[SegDataSample]) -> Tensor:
    """The batch's label maps, ``int64 (N, H, W)``."""
    return torch.cat([sample.gt_sem_seg.data for sample in samples])


def stack_reliability(samples: Sequence[SegDataSample]) -> Tensor | None:
    """The batch's reliability, ``float32 (N, H, W)``, 0..1; None where no sample has a map.

    A sample without a map, such as one with real labels, is trusted everywhere.

    Raises:
        SampleError: a map has another size than its label map.
    """
    if not any("gt_reliability" in sample for sample in samples):
        return None
    maps = []
    for sample in samples:
        label = sample.gt_sem_seg.data
        if "gt_reliability" not in sample:
            maps.append(torch.ones_like(label, dtype=torch.float32))
            continue
        reliability = sample.gt_reliability.data
        if reliability.shape != label.shape:
            raise SampleError(
                f"{sample.get('seg_map_path', 'a label map')}: the reliability map of sample "
                f"{sample_name(sample)} is {tuple(reliability.shape[-2:])} and the label map "
                f"{tuple(label.shape[-2:])} when they reach the network; the config needs "
                "PackReliabilityInputs and the ReliabilityDataPreProcessor, which pad both alike"
            )
        maps.append(reliability)
    return torch.cat(maps)


class Counts:
    """Sums over the pixels of an interval, kept on the device and read once at its end.

    Attributes:
        pixels: ``int64 (C + 1)``, by label; ignored ones last.
        trusted: ``float64 (C + 1)``, the sum of their weights (co-training: of M).
        agreed: ``int64 ()``, pixels for which the two networks say the same.
    """

    def __init__(self, class_count: int) -> None:
        self.class_count = class_count
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.pixels = torch.zeros(self.class_count + 1, dtype=torch.int64)
        self.trusted = torch.zeros(self.class_count + 1, dtype=torch.float64)
        self.agreed = torch.zeros((), dtype=torch.int64)

    def add(
        self, label: Tensor, weights: Tensor, ignore_index: int, agree: Tensor | None = None
    ) -> None:
        """Count a batch.

        Args:
            label: ``int64 (N, H, W)``.
            weights: float or bool (N, H, W).
            ignore_index: label of the pixels that are left out.
            agree: ``bool (N, H, W)``; None where there is one network.
        """
        ignored = label == ignore_index
        index = label.masked_fill(ignored, self.class_count).flatten()
        self._move(label.device)
        self.pixels.scatter_add_(0, index, torch.ones_like(index))
        self.trusted.scatter_add_(0, index, weights.flatten().double())
        if agree is not None:
            self.agreed += (agree & ~ignored).sum()

    def gather(self) -> None:
        """Add up what all processes of a distributed training have counted, in each of them."""
        for sums in (self.pixels, self.trusted, self.agreed):
            all_reduce(sums)

    def read(self, names: Sequence[str], two_networks: bool) -> dict[str, Any]:
        """Shares over the interval, rounded; null for a class that no pixel had.

        Args:
            names: by label value.
            two_networks: whether there is an agreement to tell.

        Returns:
            ``reliable``, the mean weight of a pixel; ``reliable_by_class``, by name; and
            ``agreement``.
        """
        pixels, trusted = self.pixels[:-1].tolist(), self.trusted[:-1].tolist()
        shares = [_share(part, whole) for part, whole in zip(trusted, pixels, strict=True)]
        shown: dict[str, Any] = {
            "reliable": _share(sum(trusted), sum(pixels)),
            "reliable_by_class": dict(zip(names, shares, strict=True)),
        }
        if two_networks:
            shown["agreement"] = _share(float(self.agreed), sum(pixels))
        return shown

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        sums = {"pixels": self.pixels, "trusted": self.trusted, "agreed": self.agreed}
        return {name: tensor.clone() for name, tensor in sums.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state`."""
        self.pixels, self.trusted = state["pixels"], state["trusted"]
        self.agreed = state["agreed"]

    def _move(self, device: torch.device) -> None:
        self.pixels, self.trusted, self.agreed = (
            each.to(device) for each in (self.pixels, self.trusted, self.agreed)
        )


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None
