"""The classifier's pages show one thing of a known kind, and kinds are counted by their entropy."""

import pytest
import torch

from benchmarks.prompt_kinds import KINDS, classify, drawn_things, effective_kinds, train_classifier


def test_kinds_are_counted_by_how_often_they_show() -> None:
    assert effective_kinds(torch.tensor([4, 4, 4])) == pytest.approx(1)
    assert effective_kinds(torch.tensor([3, 4, 5, 5, 4, 3])) == pytest.approx(3)
    # shares 3/4 and 1/4: exp(0.75 ln(4/3) + 0.25 ln 4)
    assert effective_kinds(torch.tensor([0, 0, 0, 2])) == pytest.approx(1.7548, abs=1e-4)


def test_pages_are_the_same_for_a_seed_and_go_through_all_kinds() -> None:
    images, kinds = drawn_things(len(KINDS) + 1, seed=3)
    assert images.shape == (len(KINDS) + 1, 3, 64, 64)
    assert kinds.tolist() == [*range(len(KINDS)), 0]
    assert torch.equal(images, drawn_things(len(KINDS) + 1, seed=3)[0])
    assert not torch.equal(images[0], images[-1])


def test_the_classifier_learns() -> None:
    images, kinds = drawn_things(48, seed=4)
    network = train_classifier(images, kinds, steps=60)
    found = classify(network, images)
    assert (found == kinds).float().mean() > 0.5  # by chance 1 in 24
