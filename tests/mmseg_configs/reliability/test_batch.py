"""What is counted of a batch's labels."""

import torch

from mmseg_configs.reliability.batch import Counts

NAMES = ["background", "car", "boat"]
LABEL = torch.tensor([[[0, 0, 1, 255]]])


def test_shares_are_of_the_pixels_that_are_not_ignored() -> None:
    counts = Counts(3)
    weights = torch.tensor([[[1.0, 0.0, 0.5, 1.0]]])
    agree = torch.tensor([[[True, False, True, True]]])
    counts.add(LABEL, weights, 255, agree)
    counts.add(LABEL, torch.ones_like(weights), 255, agree)
    assert counts.read(NAMES, two_networks=True) == {
        "reliable": 0.75,
        "reliable_by_class": {"background": 0.75, "car": 0.75, "boat": None},
        "agreement": round(4 / 6, 4),
    }
    assert "agreement" not in counts.read(NAMES, two_networks=False)


def test_an_interval_goes_on_after_a_checkpoint_and_begins_anew_after_a_reset() -> None:
    counts, again = Counts(3), Counts(3)
    counts.add(LABEL, LABEL == 1, 255)
    again.load(counts.state())
    for each in (counts, again):
        each.add(LABEL, LABEL >= 0, 255)
    assert again.read(NAMES, False) == counts.read(NAMES, False)
    assert counts.read(NAMES, False)["reliable"] == round(4 / 6, 4)
    counts.reset()
    assert counts.read(NAMES, False)["reliable"] is None
