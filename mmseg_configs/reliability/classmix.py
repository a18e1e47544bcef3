"""ClassMix on the device: parts of one image are pasted into another, labels and all.

Olsson et al., WACV 2021; here as BECO (Rong et al., CVPR 2023) uses it to make borders whose course
is known. All maps lie where the images lie; only the few random numbers come from the CPU.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mmseg_configs.reliability.losses import paste_border


@dataclass(frozen=True)
class Labelled:
    """Images with labels.

    Attributes:
        images: float (N, 3, H, W).
        label: ``int64 (N, H, W)``.
        reliable: ``bool (N, H, W)``.
    """

    images: Tensor
    label: Tensor
    reliable: Tensor


def online_labels(first: Tensor, second: Tensor, confidence: float) -> tuple[Tensor, Tensor]:
    """What two networks say together: ``argmax`` and ``max > confidence`` of softmax((f1 + f2)/2).

    Args:
        first, second: logits, float (N, C, H, W).
        confidence: 0..1.

    Returns:
        ``int64 (N, H, W)`` and ``bool (N, H, W)``, without gradient.
    """
    mean = (first.detach().float() + second.detach().float()) / 2
    probability, label = mean.softmax(1).max(1)
    return label, probability > confidence


def choose_classes(
    label: Tensor, reliable: Tensor, scores: Tensor, background: int | None
) -> Tensor:
    """Half of each image's reliable foreground classes, rounded up, as ClassMix takes them.

    Args:
        label: ``int64 (N, H, W)``.
        reliable: ``bool (N, H, W)``; a class is reliable where any pixel of it is.
        scores: ``float (N, C)``, random: of the classes that are there the highest are chosen.
        background: the label that is no foreground, if there is one.

    Returns:
        ``bool (N, C)``.
    """
    there = torch.zeros_like(scores)
    there.scatter_reduce_(1, label.flatten(1), reliable.flatten(1).to(there.dtype), "amax")
    if background is not None:
        there[:, background] = 0
    rank = (scores + there).argsort(1, descending=True).argsort(1)
    half = (there.sum(1, keepdim=True) + 1).div(2, rounding_mode="floor")
    return (rank < half) & there.bool()


def paste(base: Labelled, partner: Labelled, chosen: Tensor) -> tuple[Labelled, Tensor]:
    """Paste the reliable pixels of the chosen classes.

    Args:
        chosen: ``bool (N, C)``, the partners' classes.

    Returns:
        The mixed images, and where something was pasted, ``bool (N, H, W)``.
    """
    pasted = partner.reliable & chosen.gather(1, partner.label.flatten(1)).view_as(partner.label)
    images = torch.where(pasted[:, None], partner.images, base.images)
    label = torch.where(pasted, partner.label, base.label)
    return Labelled(images, label, base.reliable | pasted), pasted


class ClassMix:
    """Pastes into each batch from the last one that was not mixed itself.

    The networks have labelled that one already, when they learnt from it. So the online labels,
    one step old, cost no forward pass; BECO, which labels the batch at hand, runs both networks
    once more.

    Args:
        confidence: see `online_labels`; BECO has 0.95.
    """

    def __init__(self, confidence: float) -> None:
        self.confidence = confidence
        self.partners: Labelled | None = None

    def keep(
        self, images: Tensor, logits: tuple[Tensor, Tensor], label: Tensor, ignore_index: int
    ) -> None:
        """Remember a batch that the networks have just labelled; what is ignored is not pasted.

        Args:
            images: float (N, 3, H, W).
            logits: of both networks, float (N, C, H, W).
            label: the given labels.
        """
        said, sure = online_labels(*logits, self.confidence)
        self.partners = Labelled(images, said, sure & (label != ignore_index))

    def mix(
        self,
        batch: Labelled,
        class_count: int,
        background: int | None,
        generator: torch.Generator | None,
    ) -> tuple[Labelled, Tensor] | None:
        """Mix the batch with the remembered one, in a random order.

        Returns:
            The mixed batch and the `paste_border`; None where nothing of that size is remembered.
        """
        if self.partners is None or self.partners.images.shape != batch.images.shape:
            return None
        count, device = len(batch.images), batch.images.device
        order = torch.randperm(count, generator=generator).to(device)
        scores = torch.rand(count, class_count, generator=generator).to(device)
        partner = Labelled(
            self.partners.images[order], self.partners.label[order], self.partners.reliable[order]
        )
        chosen = choose_classes(partner.label, partner.reliable, scores, background)
        mixed, pasted = paste(batch, partner, chosen)
        return mixed, paste_border(pasted)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: the remembered batch."""
        return dict(vars(self.partners)) if self.partners else {}

    def load(self, state: dict[str, Tensor], device: torch.device) -> None:
        """Go on from a `state`."""
        tensors = {name: tensor.to(device) for name, tensor in state.items()}
        self.partners = Labelled(**tensors) if tensors else None
