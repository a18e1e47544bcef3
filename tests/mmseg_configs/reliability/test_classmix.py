"""What ClassMix chooses, pastes and remembers, by values."""

import math

import torch

from mmseg_configs.reliability.classmix import (
    ClassMix,
    Labelled,
    choose_classes,
    online_labels,
    paste,
)

LABEL = torch.tensor([[[0, 1, 2, 3]], [[0, 2, 2, 2]]])
"""Two images of 1x4 pixels."""
ALL = torch.ones(2, 1, 4, dtype=torch.bool)


def test_labels_are_those_of_the_mean_logits_where_they_are_sure() -> None:
    """Means (4, 0) and (1, 0): probabilities 0.982 and 0.731."""
    first = torch.tensor([[[[2.0, 5.0]], [[0.0, 4.0]]]])
    second = torch.tensor([[[[6.0, -3.0]], [[0.0, -4.0]]]])
    label, sure = online_labels(first.requires_grad_(), second, confidence=0.95)
    assert label.tolist() == [[[0, 0]]] and sure.tolist() == [[[True, False]]]
    assert not online_labels(first, second, 1 / (1 + math.exp(-4)))[1].any()


def test_half_of_the_reliable_foreground_is_chosen_rounded_up() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.8, 0.5], [0.9, 0.9, 0.1, 0.9]])
    assert choose_classes(LABEL, ALL, scores, 0).int().tolist() == [[0, 0, 1, 1], [0, 0, 1, 0]]
    with_background = choose_classes(LABEL, ALL, scores, None)
    assert with_background.int().tolist() == [[1, 0, 1, 0], [1, 0, 0, 0]]
    reliable = ALL.clone()
    reliable[0, 0, 2:] = False  # leaves class 1 alone
    assert choose_classes(LABEL, reliable, scores, 0)[0].int().tolist() == [0, 1, 0, 0]
    assert not choose_classes(LABEL, ~ALL, scores, 0).any()


def test_reliable_pixels_of_chosen_classes_replace_images_labels_and_reliability() -> None:
    base = Labelled(torch.zeros(2, 3, 1, 4), torch.full((2, 1, 4), 9), ~ALL)
    reliable = ALL.clone()
    reliable[1, 0, 3] = False
    partner = Labelled(torch.ones(2, 3, 1, 4), LABEL, reliable)
    chosen = torch.tensor([[False, True, False, False], [False, False, True, False]])
    mixed, pasted = paste(base, partner, chosen)
    expected = torch.tensor([[[0, 1, 0, 0]], [[0, 1, 1, 0]]]).bool()
    assert torch.equal(pasted, expected)
    assert torch.equal(mixed.images, expected[:, None].expand(-1, 3, -1, -1).float())
    assert mixed.label.tolist() == [[[9, 1, 9, 9]], [[9, 2, 2, 9]]]
    assert torch.equal(mixed.reliable, expected)


def sure_logits(label: torch.Tensor) -> torch.Tensor:
    return 20 * torch.nn.functional.one_hot(label, 4).movedim(-1, 1).float()


def test_a_batch_is_mixed_with_the_one_remembered() -> None:
    batch = Labelled(torch.zeros(2, 3, 1, 4), torch.zeros_like(LABEL), ALL)
    mix = ClassMix(confidence=0.95)
    generator = torch.Generator().manual_seed(0)
    assert mix.mix(batch, 4, 0, generator) is None
    given = torch.zeros_like(LABEL)
    given[0, 0, 1] = 255
    mix.keep(torch.ones(2, 3, 1, 4), (sure_logits(LABEL), sure_logits(LABEL)), given, 255)
    assert mix.partners is not None and torch.equal(mix.partners.label, LABEL)
    assert torch.equal(mix.partners.reliable, given != 255)
    mixed, border = mix.mix(batch, 4, 0, generator) or (None, None)
    assert mixed is not None and border is not None
    pasted = mixed.images[:, 0] == 1
    assert pasted.any() and torch.equal(pasted, mixed.label > 0)
    assert (border & pasted).any()
    smaller = Labelled(batch.images[..., :3], batch.label[..., :3], batch.reliable[..., :3])
    assert mix.mix(smaller, 4, 0, generator) is None


def test_its_memory_goes_into_a_checkpoint_and_back() -> None:
    mix, again = ClassMix(0.95), ClassMix(0.95)
    assert mix.state() == {}
    images, logits = torch.rand(2, 3, 1, 4), sure_logits(LABEL)
    mix.keep(images, (logits, logits), torch.zeros_like(LABEL), 255)
    again.load(mix.state(), torch.device("cpu"))
    batch = Labelled(torch.zeros(2, 3, 1, 4), torch.zeros_like(LABEL), ~ALL)
    one, two = (each.mix(batch, 4, 0, torch.Generator().manual_seed(3)) for each in (mix, again))
    assert one and two and torch.equal(one[0].images, two[0].images)
    again.load({}, torch.device("cpu"))
    assert again.partners is None
