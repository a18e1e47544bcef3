"""The objective against numbers worked out by hand."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tasks.diffusion import Batch, Diffusion, denoising_errors, mean_error
from tasks.params import InputError

ALPHA_BAR = torch.tensor([0.9, 0.5, 0.2, 0.0])


def diffusion(prediction: str) -> Diffusion:
    return Diffusion(ALPHA_BAR.sqrt(), (1 - ALPHA_BAR).sqrt(), prediction)


def batch(values: list[float], noise: list[float], timesteps: list[int]) -> Batch:
    """Rows of 2x2 latents, each of one value."""
    shape = torch.ones(len(values), 1, 2, 2)
    rows = torch.tensor(values)[:, None, None, None], torch.tensor(noise)[:, None, None, None]
    texts = torch.zeros(len(values), 3, 5)
    return Batch(shape * rows[0], shape * rows[1], torch.tensor(timesteps), texts)


class Constant(nn.Module):
    """A network that says the same of everything, and keeps what it was asked."""

    def __init__(self, said: float) -> None:
        super().__init__()
        self.said, self.asked = said, []

    def forward(self, noised: Tensor, timesteps: Tensor, **kwargs: Any) -> SimpleNamespace:
        self.asked.append((noised, timesteps, kwargs))
        return SimpleNamespace(sample=torch.full_like(noised, self.said))


@pytest.mark.parametrize(
    ("prediction", "targets"),
    [
        ("epsilon", [1.0, -1.0]),
        # v = signal * noise - sigma * x
        ("v_prediction", [0.5**0.5 - 2 * 0.5**0.5, -(0.2**0.5) - 3 * 0.8**0.5]),
    ],
)
def test_latents_are_noised_and_targets_are_the_networks(
    prediction: str, targets: list[float]
) -> None:
    rows = batch([2.0, 3.0], [1.0, -1.0], [1, 2])
    noised, target = diffusion(prediction).noised(rows)
    expected = [2 * 0.5**0.5 + 0.5**0.5, 3 * 0.2**0.5 - 0.8**0.5]
    assert noised[:, 0, 1, 1].tolist() == pytest.approx(expected)
    assert target[:, 0, 1, 1].tolist() == pytest.approx(targets)


def test_errors_are_of_each_row() -> None:
    network = Constant(0.5)
    rows = batch([2.0, 3.0], [1.0, -1.0], [1, 2])
    assert denoising_errors(network, diffusion("epsilon"), rows).tolist() == [0.25, 2.25]
    noised, timesteps, kwargs = network.asked[0]
    assert timesteps.tolist() == [1, 2] and kwargs["added_cond_kwargs"] is None
    assert noised.shape == (2, 1, 2, 2)


def test_rows_weigh_the_same_whatever_their_batch() -> None:
    """The errors of noise 1, 2 and 3 are their squares."""
    whole = batch([0.0] * 3, [1.0, 2.0, 3.0], [0, 1, 2])
    parts = [whole.part(slice(0, 1)), whole.part(slice(1, 3))]
    mean = mean_error(Constant(0.0), diffusion("epsilon"), parts, "cpu")
    assert mean == pytest.approx(14 / 3)


@pytest.mark.parametrize(
    ("prediction", "gamma", "expected"),
    [  # SNR is 9, 1, 0.25 and 0
        ("epsilon", 5.0, [5 / 9, 1, 1, 1]),
        ("epsilon", 0.5, [0.5 / 9, 0.5, 1, 1]),
        ("v_prediction", 5.0, [5 / 10, 1 / 2, 0.25 / 1.25, 0]),
        ("v_prediction", 0.5, [0.5 / 10, 0.5 / 2, 0.25 / 1.25, 0]),
    ],
)
def test_min_snr_weights(prediction: str, gamma: float, expected: list[float]) -> None:
    weights = diffusion(prediction).min_snr_weights(torch.arange(4), gamma)
    assert weights.tolist() == pytest.approx(expected, rel=1e-5)


def test_the_forward_process_is_the_schedulers() -> None:
    config = {
        "num_train_timesteps": 10,
        "beta_start": 0.1,
        "beta_end": 0.1,
        "beta_schedule": "linear",
        "prediction_type": "v_prediction",
    }
    found = Diffusion.of(config)
    assert (found.steps, found.prediction) == (10, "v_prediction")
    kept = torch.tensor([0.9**n for n in range(1, 11)])
    torch.testing.assert_close(found.signal, kept.sqrt())
    torch.testing.assert_close(found.sigma, (1 - kept).sqrt())
    silent = Diffusion.of(config | {"rescale_betas_zero_snr": True})
    assert float(silent.signal[-1]) == pytest.approx(0, abs=1e-4)
    with pytest.raises(InputError, match="its network predicts 'sample'; adapt_lora trains netwo"):
        Diffusion.of(config | {"prediction_type": "sample"})
