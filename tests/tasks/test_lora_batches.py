"""What a step draws: which rows, which times, which captions, and always the same."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from tasks.encoding import Example, Texts
from tasks.lora_batches import TrainingSet, split, time_ids
from tasks.params import Params

STEPS = 1000
CAPTIONS = ("", "own", "wide", "prior")

Make = Callable[..., TrainingSet]


def texts(pooled: bool = False) -> Texts:
    """Each caption's embedding is its place in the list."""
    rows = {caption: row for row, caption in enumerate(CAPTIONS)}
    values = torch.arange(len(CAPTIONS), dtype=torch.float32)
    return Texts(
        rows, values[:, None, None].expand(-1, 2, 3), values[:, None] * 10 if pooled else None
    )


def examples(
    count: int, caption: str, first: int, shape: tuple[int, int] = (4, 4)
) -> list[Example]:
    """Images whose two windows hold their number, and their number and a half."""
    halves = torch.tensor([0, 0.5])[:, None, None, None].expand(2, 1, *shape)
    return [Example(halves + first + n, caption) for n in range(count)]


@pytest.fixture
def make(make_params: Callable[..., Params]) -> Make:
    """Ten images numbered from 0, and three of the base model's numbered from 100."""

    def build(
        own: list[Example] | None = None, pooled: bool = False, **changes: Any
    ) -> TrainingSet:
        values = {"batch_size": 4, "caption_dropout": 0.0, "seed": 1} | changes
        section = make_params({f"adapt_lora.{k}": v for k, v in values.items()}).adapt_lora
        return TrainingSet(
            own or examples(10, "own", 0),
            examples(3, "prior", 100),
            texts(pooled),
            section,
            STEPS,
            8,
        )

    return build


def numbers(latents: Tensor) -> list[int]:
    return [int(value) for value in latents[:, 0, 0, 0]]


def test_a_step_draws_the_same_again_and_another_draws_others(make: Make) -> None:
    (first,), (again,), (other,) = (make().draw(step) for step in (3, 3, 4))
    for name in ("latents", "noise", "timesteps", "text"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.noise, other.noise)
    (reseeded,) = make(seed=2).draw(3)
    assert not torch.equal(first.noise, reseeded.noise)


def test_no_image_comes_twice_before_all_have_come(make: Make) -> None:
    (batch,) = make(batch_size=8).draw(0)
    assert len(set(numbers(batch.latents))) == 8
    (batch,) = make(batch_size=25).draw(0)
    counts = [numbers(batch.latents).count(number) for number in range(10)]
    assert sorted(set(counts)) == [2, 3]


def test_all_windows_of_an_image_come(make: Make) -> None:
    drawn = torch.cat([make().draw(step)[0].latents[:, 0, 0, 0] for step in range(40)])
    assert set((drawn % 1).tolist()) == {0, 0.5}


def test_timesteps_are_stratified_in_random_order(make: Make) -> None:
    training = make(batch_size=5)
    for step in range(20):
        (batch,) = training.draw(step)
        assert sorted((batch.timesteps // 200).tolist()) == [0, 1, 2, 3, 4]
    firsts = {int(training.draw(step)[0].timesteps[0]) // 200 for step in range(40)}
    assert firsts == {0, 1, 2, 3, 4}


def test_a_share_of_each_step_is_the_base_models_own(make: Make) -> None:
    training = make(batch_size=4, gradient_accumulation=2, prior_share=0.25)
    for step in range(5):
        batches = training.draw(step)
        assert [len(batch) for batch in batches] == [4, 4]
        drawn = numbers(torch.cat([batch.latents for batch in batches]))
        assert sum(number >= 100 for number in drawn) == 2
        text = torch.cat([batch.text for batch in batches])[:, 0, 0].tolist()
        assert text == [CAPTIONS.index("prior" if n >= 100 else "own") for n in drawn]


def test_accumulated_batches_are_parts_of_the_large_one(make: Make) -> None:
    (large,) = make(batch_size=8).draw(2)
    parts = make(batch_size=2, gradient_accumulation=4).draw(2)
    assert len(parts) == 4
    for name in ("latents", "noise", "timesteps", "text"):
        assert torch.equal(getattr(large, name), torch.cat([getattr(part, name) for part in parts]))


def test_captions_are_dropped_by_their_share(make: Make) -> None:
    dropped = make(batch_size=10, caption_dropout=0.3)
    text = torch.cat([dropped.draw(step)[0].text[:, 0, 0] for step in range(40)])
    assert float((text == 0).float().mean()) == pytest.approx(0.3, abs=0.06)
    (all_gone,) = make(caption_dropout=1.0).draw(0)
    assert not all_gone.text.any()


def test_noise_is_normal_and_its_offset_is_one_number_a_channel(make: Make) -> None:
    own = examples(10, "own", 0, (16, 16))
    (plain,) = make(own, batch_size=10).draw(0)
    assert float(plain.noise.std()) == pytest.approx(1, abs=0.05)
    (offset,) = make(own, batch_size=10, noise_offset=0.5).draw(0)
    difference = offset.noise - plain.noise
    torch.testing.assert_close(difference, difference[:, :, :1, :1].expand_as(difference))
    assert 0.2 < float(difference[:, 0, 0, 0].std()) < 0.9


def test_a_step_takes_images_of_one_size_and_each_size_comes_by_its_share(make: Make) -> None:
    own = examples(6, "own", 0) + examples(3, "wide", 50, (2, 8))
    training = make(own, batch_size=3)
    shapes = [training.draw(step)[0].latents.shape[2:] for step in range(90)]
    assert all(len(training.draw(step)) == 1 for step in range(10))
    assert 0.55 < shapes.count((4, 4)) / 90 < 0.8
    mixed = make(own, batch_size=4, prior_share=0.5)
    wide = next(batches for step in range(50) if len(batches := mixed.draw(step)) == 2)
    assert {tuple(batch.latents.shape) for batch in wide} == {(2, 1, 2, 8), (2, 1, 4, 4)}


def test_sizes_are_told_to_the_network_that_asks(make: Make) -> None:
    (plain,) = make().draw(0)
    assert plain.pooled is None and plain.time_ids is None
    (batch,) = make(pooled=True).draw(0)
    assert batch.pooled is not None and batch.time_ids is not None
    assert batch.pooled.tolist() == [[10.0]] * 4
    assert batch.time_ids.tolist() == [[32, 32, 0, 0, 32, 32]] * 4
    assert time_ids(torch.zeros(1, 4, 3, 5), 8).tolist() == [[24, 40, 0, 0, 24, 40]]


def test_held_out_batches_stay_the_same_and_cover_all_times(make: Make) -> None:
    """At least 64 rows, each with a part of the range of its own; only first windows."""
    held_out = [*examples(3, "own", 0), *examples(2, "wide", 50, (2, 8))]
    batches = make().held_out(held_out)
    again = make().held_out(held_out)
    assert all(torch.equal(a.noise, b.noise) for a, b in zip(batches, again, strict=True))
    timesteps = torch.cat([batch.timesteps for batch in batches]).sort().values
    assert len(timesteps) == 65 and max(len(batch) for batch in batches) == 4
    assert [int(t * 65 / STEPS + 1e-6) for t in timesteps] == pytest.approx(list(range(65)), abs=1)
    gaps = [float(b - a) for a, b in pairwise(timesteps)]
    assert max(gaps) <= 2 * STEPS / 65 + 1
    values = torch.cat([batch.latents[:, 0, 0, 0] for batch in batches])
    assert sorted(values.tolist()) == [n for n in (0, 1, 2, 50, 51) for _ in range(13)]
    for number in (0, 1, 2):
        mine = torch.cat([b.timesteps[b.latents[:, 0, 0, 0] == number] for b in batches])
        assert mine.min() < STEPS / 8 and mine.max() > STEPS * 7 / 8


def test_many_held_out_images_are_noised_four_times_each(make: Make) -> None:
    batches = make(batch_size=50).held_out(examples(40, "own", 0))
    assert [len(batch) for batch in batches] == [50, 50, 50, 10]


def test_held_out_items_are_drawn_by_the_seed() -> None:
    train, held_out = split("abcdefghij", 3, seed=0)
    assert (len(train), len(held_out)) == (7, 3)
    assert sorted([*train, *held_out]) == list("abcdefghij")
    assert train == sorted(train)
    assert split("abcdefghij", 3, seed=0) == (train, held_out)
    assert {tuple(split("abcdefghij", 3, seed=seed)[1]) for seed in range(5)} != {tuple(held_out)}
