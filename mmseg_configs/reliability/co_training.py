"""Co-training: two networks of one architecture teach each other where labels are doubtful.

BECO (Rong et al., "Boundary-enhanced Co-training for Weakly Supervised Semantic Segmentation", CVPR
2023). The networks differ by the random weights that they start from: those of the heads, and of
the backbones too where none are given.
"""

from copy import deepcopy
from typing import Any

import torch
from mmengine.model import ModuleList
from mmseg.models import EncoderDecoder
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import CrossEntropyLoss
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_configs.reliability.batch import Counts, Phase, stack_labels, stack_reliability
from mmseg_configs.reliability.classmix import ClassMix, Labelled
from mmseg_configs.reliability.losses import (
    ReliabilityCrossEntropy,
    co_training_loss,
    opinion_where_sure,
    reliable_pixels,
)


@MODELS.register_module()
class CoTrainingSegmentor(EncoderDecoder):
    """Two `EncoderDecoder` trained together; what it predicts is the mean of their logits.

    Inherits inference from `EncoderDecoder`, on whole images and in sliding windows, and has two
    networks in the place of its parts. Every head, auxiliary ones included, learns by
    `co_training_loss` times its own weight; the other network's opinion is that of its decode head.

    Args:
        segmentor: the config of an `EncoderDecoder`, built twice.
        quantile: ranks below it are unreliable once the schedule is at full strength.
        border_weight: see `co_training_loss`.
        sure: the probability from which on an opinion stands against a doubtful label, see
            `opinion_where_sure`; 0 is BECO.
        confidence: see `ClassMix`.
        data_preprocessor, init_cfg: as in `EncoderDecoder`.

    Attributes:
        phase: set by `ReliabilityHook`: unreliable are ranks below ``strength * quantile``; they
            have no part in the loss until ``cross``.
        background: the label that ClassMix does not paste, if there is one.

    Raises:
        ValueError: a head has another loss than cross-entropy per pixel.
    """

    def __init__(
        self,
        segmentor: dict[str, Any],
        quantile: float = 0.5,
        border_weight: float = 0.2,
        sure: float = 0.0,
        confidence: float = 0.95,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
    ) -> None:
        super(EncoderDecoder, self).__init__(data_preprocessor, init_cfg)
        self.networks = ModuleList(MODELS.build(deepcopy(segmentor)) for _ in range(2))
        first = self.networks[0]
        for name, head in heads(first).items():
            _check_head(name, head)
        self.train_cfg, self.test_cfg = first.train_cfg, first.test_cfg
        self.align_corners = first.align_corners
        self.num_classes, self.out_channels = first.num_classes, first.out_channels
        self.quantile, self.border_weight, self.sure = quantile, border_weight, sure
        self.ignore_index: int = first.decode_head.ignore_index
        self.background: int | None = None
        self.phase = Phase()
        self.counts = Counts(self.num_classes)
        self.classmix = ClassMix(confidence)

    def loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        """Both networks' losses, added up for each head."""
        label, reliability = stack_labels(data_samples), stack_reliability(data_samples)
        if reliability is None:
            reliable = torch.ones_like(label, dtype=torch.bool)
        else:
            reliable = reliable_pixels(reliability, self.phase.strength * self.quantile)
        batch, border = self._mix(Labelled(inputs, label, reliable))
        logits = [self._head_logits(network, batch) for network in self.networks]
        decoded = (logits[0]["decode"].detach(), logits[1]["decode"].detach())
        said = (decoded[0].argmax(1), decoded[1].argmax(1))
        self.counts.add(batch.label, batch.reliable, self.ignore_index, said[0] == said[1])
        if self.phase.cross:
            opinions = [
                opinion_where_sure(each, argmax, batch.label, self.sure)
                for each, argmax in zip(decoded, said, strict=True)
            ]
        else:
            opinions = [torch.full_like(batch.label, self.ignore_index)] * 2
        if self.phase.classmix and border is None:
            self.classmix.keep(inputs, decoded, label, self.ignore_index)
        losses = {}
        for name, head in heads(self.networks[0]).items():
            both = [
                co_training_loss(
                    logits[one][name],
                    batch.label,
                    batch.reliable,
                    opinions[1 - one],
                    border,
                    self.border_weight,
                    self.ignore_index,
                )
                for one in (0, 1)
            ]
            losses[f"{name}.loss_co"] = head.loss_decode.loss_weight * (both[0] + both[1])
        return losses

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict[str, Any]]) -> Tensor:
        """The mean of both networks' logits at the size of the input."""
        first, second = (net.encode_decode(inputs, batch_img_metas) for net in self.networks)
        logits: Tensor = (first + second) / 2
        return logits

    def _forward(self, inputs: Tensor, data_samples: Any = None) -> Tensor:
        first, second = (net(inputs, data_samples, mode="tensor") for net in self.networks)
        logits: Tensor = (first + second) / 2
        return logits

    def export(self, index: int) -> dict[str, Any]:
        """One network as a checkpoint of MMSegmentation's own `EncoderDecoder`.

        Args:
            index: 0 or 1.

        Returns:
            ``state_dict``, on the CPU, and ``meta``, for `torch.save`.
        """
        weights = self.networks[index].state_dict()
        return {"state_dict": {key: value.cpu() for key, value in weights.items()}, "meta": {}}

    def reliability_state(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the weights."""
        return {"counts": self.counts.state(), "classmix": self.classmix.state()}

    def load_reliability_state(self, state: dict[str, Any]) -> None:
        """Go on from a `reliability_state`."""
        self.counts.load(state["counts"])
        self.classmix.load(state["classmix"], next(self.parameters()).device)

    def _mix(self, batch: Labelled) -> tuple[Labelled, Tensor | None]:
        """The batch to learn from, and the borders of what was pasted into it, if anything was."""
        generator = self.phase.generator
        if torch.rand((), generator=generator).item() >= self.phase.classmix:
            return batch, None
        mixed = self.classmix.mix(batch, self.num_classes, self.background, generator)
        return mixed or (batch, None)

    def _head_logits(self, network: EncoderDecoder, batch: Labelled) -> dict[str, Tensor]:
        """Every head's logits at the labels' size, ``(N, C, H, W)``."""
        features = network.extract_feat(batch.images)
        return {
            name: resize(
                head(features),
                size=batch.label.shape[1:],
                mode="bilinear",
                align_corners=head.align_corners,
            )
            for name, head in heads(network).items()
        }


def heads(network: EncoderDecoder) -> dict[str, BaseDecodeHead]:
    """A network's heads by the names under which MMSegmentation logs their losses."""
    found = {"decode": network.decode_head}
    if network.with_auxiliary_head:
        auxiliary = network.auxiliary_head
        if isinstance(auxiliary, nn.ModuleList):
            found |= {f"aux_{number}": head for number, head in enumerate(auxiliary)}
        else:
            found["aux"] = auxiliary
    return found


def _check_head(name: str, head: BaseDecodeHead) -> None:
    loss = head.loss_decode
    stock = (
        isinstance(loss, CrossEntropyLoss)
        and not (loss.use_sigmoid or loss.use_mask)
        and loss.class_weight is None
    )
    if not (stock or isinstance(loss, ReliabilityCrossEntropy)) or head.out_channels == 1:
        raise ValueError(
            f"{name}: co-training needs a softmax cross-entropy without class weights as its loss, "
            f"not {type(loss).__name__} with {head.out_channels} channels; change loss_decode"
        )
    if head.sampler is not None or type(head).loss_by_feat is not BaseDecodeHead.loss_by_feat:
        raise ValueError(
            f"{name}: {type(head).__name__} samples pixels or computes its loss in a way of its "
            "own, which co-training would pass over; choose another head"
        )
