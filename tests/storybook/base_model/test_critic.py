"""The judge knows the classes of its domain, and learns them."""

import pytest
import torch

from storybook.base_model.critic import Critic, labelled_images, mean_iou, predict, train_critic


@pytest.mark.parametrize(("domain", "classes"), [("page", 9), ("street", 6)])
def test_images_have_the_labels_of_their_domain(domain: str, classes: int) -> None:
    images, labels = labelled_images(6, 3, domain)
    assert images.shape == (6, 3, 64, 64)
    assert -1 <= images.min() < images.max() <= 1
    assert labels.max() < classes
    assert torch.equal(labels, labelled_images(6, 3, domain)[1])
    assert Critic(classes)(images).shape == (6, classes, 64, 64)


def test_it_learns_streets() -> None:
    critic = train_critic(25, 5, domain="street", images=32, batch=8)
    images, labels = labelled_images(16, 6, "street")
    assert mean_iou(predict(critic, images), labels, 6) > 0.3  # the commonest class alone: 0.08
