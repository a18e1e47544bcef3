"""Two networks in one segmentor: their loss, what they predict, what either leaves."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

from mmseg_configs.reliability.batch import Phase
from mmseg_configs.reliability.losses import paste_border

CLASSES = 3


def head(**changes: Any) -> dict[str, Any]:
    return {
        "type": "FCNHead",
        "in_channels": 4,
        "channels": 4,
        "num_convs": 1,
        "concat_input": False,
        "dropout_ratio": 0,
        "num_classes": CLASSES,
        "loss_decode": {"type": "ReliabilityCrossEntropy"},
        **changes,
    }


def single(**changes: Any) -> dict[str, Any]:
    """The config of a stock network of a few hundred weights, with an auxiliary head."""
    auxiliary = {"type": "CrossEntropyLoss", "loss_weight": 0.4}
    return {
        "type": "EncoderDecoder",
        "backbone": {
            "type": "ResNet",
            "depth": 18,
            "num_stages": 1,
            "out_indices": (0,),
            "strides": (1,),
            "dilations": (1,),
            "stem_channels": 4,
            "base_channels": 4,
        },
        "decode_head": head(),
        "auxiliary_head": head(loss_decode=auxiliary),
        "test_cfg": ConfigDict(mode="whole"),
        **changes,
    }


def build(config: dict[str, Any]) -> Any:
    init_default_scope("mmseg")
    torch.manual_seed(0)
    network = MODELS.build(deepcopy(config))
    network.init_weights()
    for name, weights in network.named_parameters():
        if "conv_seg.weight" in name:
            weights.data *= 100  # logits that differ
    return network.eval()  # the batch's statistics would tie all pixels together


def pair(**changes: Any) -> Any:
    return build({"type": "CoTrainingSegmentor", "segmentor": single(), **changes})


def samples(label: Tensor, reliability: Tensor | None) -> list[SegDataSample]:
    batch = []
    for number, one in enumerate(label):
        sample = SegDataSample(gt_sem_seg=PixelData(data=one[None]))
        if reliability is not None:
            sample.set_data({"gt_reliability": PixelData(data=reliability[number][None])})
        batch.append(sample)
    return batch


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels with some 255, reliability."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 16, 16, generator=generator)
    label = torch.randint(0, CLASSES, (2, 16, 16), generator=generator)
    label[:, :2] = 255
    return images, label, torch.rand(2, 16, 16, generator=generator)


def logits_of(network: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    features = network.extract_feat(images)
    decoded, auxiliary = (
        interpolate(part(features), size=images.shape[2:], mode="bilinear")
        for part in (network.decode_head, network.auxiliary_head)
    )
    return decoded, auxiliary


def test_the_networks_differ_in_every_part() -> None:
    first, second = (each.state_dict() for each in pair().networks)
    assert first.keys() == second.keys()
    for part in ("backbone", "decode_head", "auxiliary_head"):
        key = next(key for key in first if key.startswith(part) and "conv" in key)
        assert not torch.equal(first[key], second[key])


def test_the_loss_is_the_formula_of_every_head(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    images, label, reliability = batch
    network = pair(quantile=0.8)
    network.phase = Phase(strength=0.5)
    losses = network.loss(images, samples(label, reliability))
    assert set(losses) == {"decode.loss_co", "aux.loss_co"}
    logits = [logits_of(one, images) for one in network.networks]
    reliable, counted = reliability >= 0.4, label != 255
    for at, (name, weight) in enumerate((("decode", 1.0), ("aux", 0.4))):
        expected = torch.zeros(())
        for i, j in ((0, 1), (1, 0)):
            given = cross_entropy(logits[i][at], label, ignore_index=255, reduction="none")
            opinion = logits[j][0].argmax(1)
            cross = cross_entropy(logits[i][at], opinion, reduction="none") * counted
            expected = expected + (reliable * given).mean() + (~reliable * cross).mean()
        torch.testing.assert_close(losses[f"{name}.loss_co"], weight * expected)
    counts = network.counts.read(["a", "b", "c"], two_networks=True)
    assert counts["reliable"] == pytest.approx(reliable[counted].float().mean().item(), abs=1e-4)
    same = (logits[0][0].argmax(1) == logits[1][0].argmax(1))[counted]
    assert counts["agreement"] == pytest.approx(same.float().mean().item(), abs=1e-4)


@pytest.mark.parametrize("mapped", [True, False])
def test_trusted_labels_train_both_as_if_alone(
    batch: tuple[Tensor, Tensor, Tensor], mapped: bool
) -> None:
    images, label, _ = batch
    label = label % 255 % CLASSES
    network = pair()
    losses = network.loss(images, samples(label, torch.ones(2, 16, 16) if mapped else None))
    expected = sum(cross_entropy(logits_of(one, images)[0], label) for one in network.networks)
    torch.testing.assert_close(losses["decode.loss_co"], expected)


def test_an_opinion_carries_no_gradient(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    """Where no label is reliable each network's gradient is that of learning fixed labels."""
    images, label, _ = batch
    network = pair()
    label = label % 255 % CLASSES
    losses = network.loss(images, samples(label, torch.zeros(2, 16, 16)))
    losses["decode.loss_co"].backward()
    first, second = network.networks
    got = first.decode_head.conv_seg.weight.grad.clone()
    opinion = logits_of(second, images)[0].argmax(1)
    first.zero_grad()
    cross_entropy(logits_of(first, images)[0], opinion).backward()
    torch.testing.assert_close(got, first.decode_head.conv_seg.weight.grad)


def test_a_doubtful_label_stands_where_the_other_network_is_unsure(
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    images, label, _ = batch
    label = label % 255 % CLASSES
    network = pair(sure=0.5)
    losses = network.loss(images, samples(label, torch.zeros(2, 16, 16)))
    logits = [logits_of(one, images)[0] for one in network.networks]
    expected = torch.zeros(())
    for one, other in (logits, logits[::-1]):
        probability, said = other.softmax(1).max(1)
        assert 0 < (probability >= 0.5).float().mean() < 1
        expected = expected + cross_entropy(one, torch.where(probability >= 0.5, said, label))
    torch.testing.assert_close(losses["decode.loss_co"], expected)


def test_until_they_teach_each_other_doubtful_labels_teach_nothing(
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    images, label, reliability = batch
    network = pair()
    network.phase = Phase(1.0, cross=False)
    losses = network.loss(images, samples(label, reliability))
    given = torch.where(reliability >= 0.5, label, 255)
    expected = sum(
        cross_entropy(logits_of(one, images)[0], given, ignore_index=255, reduction="none").mean()
        for one in network.networks
    )
    torch.testing.assert_close(losses["decode.loss_co"], expected)
    assert network.counts.read("abc", two_networks=True)["agreement"] < 1


def test_what_was_mixed_is_not_pasted_from(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    images, label, reliability = batch
    network = pair(confidence=0.0)
    network.phase = Phase(1.0, classmix=0.999, generator=torch.Generator().manual_seed(0))
    network.loss(images, samples(label, reliability))  # nothing to paste yet
    partners = network.classmix.partners
    assert torch.equal(partners.images, images)
    assert torch.equal(partners.reliable, label != 255)
    network.loss(images.flip(3), samples(label, reliability))
    assert network.classmix.partners is partners


def test_a_mixed_batch_is_learnt_with_heavier_borders(
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    images, label, reliability = batch
    label = label % 255 % CLASSES
    network = pair(confidence=0.0)
    network.background = 0
    seeds = [torch.Generator().manual_seed(5) for _ in range(2)]
    network.phase = Phase(1.0, 0.999, torch.Generator().manual_seed(4))
    network.loss(images, samples(label, reliability))
    network.phase = Phase(1.0, 0.999, seeds[0])
    losses = network.loss(images.flip(3), samples(label, reliability))

    torch.rand((), generator=seeds[1])
    order = torch.randperm(2, generator=seeds[1])
    scores = torch.rand(2, CLASSES, generator=seeds[1])
    said = network.classmix.partners.label[order]
    chosen = torch.zeros(2, CLASSES, dtype=torch.bool)
    for number in range(2):
        there = [k for k in said[number].unique().tolist() if k != 0]
        best = sorted(there, key=lambda k: -scores[number, k].item())
        chosen[number, best[: (len(there) + 1) // 2]] = True
    pasted = torch.stack([chosen[number][said[number]] for number in range(2)])
    mixed = torch.where(pasted[:, None], images[order], images.flip(3))
    target = torch.where(pasted, said, label)
    reliable = (reliability >= 0.5) | pasted
    weight = 1 + 0.2 * paste_border(pasted)
    logits = [logits_of(one, mixed)[0] for one in network.networks]
    expected = torch.zeros(())
    for i, j in ((0, 1), (1, 0)):
        given = cross_entropy(logits[i], target, reduction="none") * weight
        cross = cross_entropy(logits[i], logits[j].argmax(1), reduction="none")
        expected = expected + (reliable * given).mean() + (~reliable * cross).mean()
    assert pasted.any()
    torch.testing.assert_close(losses["decode.loss_co"], expected)


def test_without_classmix_nothing_is_remembered(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    images, label, reliability = batch
    network = pair()
    network.loss(images, samples(label, reliability))
    assert network.classmix.partners is None


def test_it_predicts_the_mean_whole_and_in_windows(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    images, _, _ = batch
    network = pair()
    with torch.no_grad():
        mean = sum(logits_of(one, images)[0] for one in network.networks) / 2
        predicted = network.predict(images)
        assert torch.equal(predicted[1].pred_sem_seg.data[0], mean[1].argmax(0))
        torch.testing.assert_close(predicted[1].seg_logits.data, mean[1])
        low = network(images)
        torch.testing.assert_close(low, sum(one(images) for one in network.networks) / 2)
        network.test_cfg = ConfigDict(mode="slide", crop_size=(8, 16), stride=(8, 16))
        top = sum(logits_of(one, images[:, :, :8])[0] for one in network.networks) / 2
        torch.testing.assert_close(network.predict(images)[0].seg_logits.data[:, :8], top[0])


@pytest.mark.parametrize("index", [0, 1])
def test_either_network_is_a_stock_checkpoint(
    batch: tuple[Tensor, Tensor, Tensor], index: int, tmp_path: Path
) -> None:
    images, _, _ = batch
    network = pair()
    torch.save(network.export(index), tmp_path / "network.pth")
    stock = build(single())
    loaded = torch.load(tmp_path / "network.pth", weights_only=True)
    stock.load_state_dict(loaded["state_dict"], strict=True)
    with torch.no_grad():
        assert torch.equal(stock(images), network.networks[index](images))


def test_heads_that_do_not_fit_are_refused() -> None:
    dice = head(loss_decode={"type": "DiceLoss"})
    with pytest.raises(ValueError, match=r"decode: co-training needs .* not DiceLoss"):
        pair(segmentor=single(decode_head=dice))
    weighted = {"type": "CrossEntropyLoss", "class_weight": [1.0, 2.0, 3.0]}
    with pytest.raises(ValueError, match="aux: co-training needs"):
        pair(segmentor=single(auxiliary_head=head(loss_decode=weighted)))
    with pytest.raises(ValueError, match="decode: FCNHead samples pixels"):
        pair(segmentor=single(decode_head=head(sampler={"type": "OHEMPixelSampler"})))
