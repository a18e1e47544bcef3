from collections import Counter
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor
from torch.profiler import profile

from benchmarks import sampling
from benchmarks.batches import (
    FOUR_PHRASES,
    SD15_SHAPE,
    TEXT_LENGTH,
    TINY_SHAPE,
    Batch,
    random_batch,
)
from benchmarks.peer_capture import store_everything, sum_heat_maps
from benchmarks.record import Bar, Row
from benchmarks.sampling import (
    METHODS,
    RETAINED,
    bars_of,
    measure_memory,
    measure_times,
    peak_bytes,
)
from tasks.attention import trace_cross_attention

CPU = torch.device("cpu")
LAYERS = 10  # attention layers of each kind in the tiny UNet: 3 down, 1 middle, 6 up
POSITIONS = 3 * 64 + 3 * 16 + 3 * 4 + 1  # of these layers together, for 64x64 pixels


@pytest.fixture(scope="module")
def batch() -> Batch:
    made = random_batch("tiny", TINY_SHAPE, "cpu", images=2, size=64, steps=2)
    made.pipeline.to(torch.float32)
    made.inputs.update({name: value.float() for name, value in made.inputs.items()})
    return made


def test_the_large_unet_has_stable_diffusion_15s_weights() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD15_SHAPE)
    assert sum(weight.numel() for weight in unet.parameters()) == 859_520_964
    assert sum(".attn2." in name for name in unet.attn_processors) == 16


def test_the_peak_counts_what_is_held_at_once() -> None:
    def work() -> Tensor:
        first = torch.ones(1000, 1000)
        second = first + 1
        del first
        return second * 2

    peak, result = peak_bytes(work, CPU)
    assert result.nbytes == 4_000_000
    assert peak == pytest.approx(8_000_000, abs=1000)


def test_what_is_kept_is_what_the_arithmetic_says(batch: Batch) -> None:
    rows = measure_memory(batch)
    self_attention = 3 * 64**2 + 3 * 16**2 + 3 * 4**2 + 1
    cross_attention = POSITIONS * TEXT_LENGTH
    expected = {
        "plain": 0,
        "one_step": 4 * 4 * (64 + 16 + 4 + 1),  # float32, four phrases, a map per resolution
        "all_steps": 4 * 4 * (64 + 16 + 4 + 1) / 2,
        "store_everything": 4 * 2 * (self_attention + cross_attention),  # float32, two heads
        "daam_like": 4 * cross_attention / 2,
    }
    assert {name: row[RETAINED] for name, row in rows.items()} == {
        name: pytest.approx(count / 1e6, abs=1e-6) for name, count in expected.items()
    }
    # The allocator saw it too: two images and two steps are held when the batch ends.
    peaks = {name: float(row["peak attention MB"]) for name, row in rows.items()}
    assert peaks["store_everything"] == pytest.approx(
        4 * expected["store_everything"] / 1e6, rel=0.1
    )
    assert peaks["plain"] == 0
    assert peaks["one_step"] < 0.05


def test_peers_and_trace_see_the_same_attention(batch: Batch) -> None:
    alone = batch.part(slice(1))
    unet = alone.pipeline.unet
    own = dict(unet.attn_processors)
    plain = alone.sample()
    with trace_cross_attention(unet, alone.columns, range(alone.steps)) as trace:
        alone.sample()
    with store_everything(unet) as kept:
        stored = alone.sample()
    assert unet.attn_processors == own
    with sum_heat_maps(unet) as sums:
        summed = alone.sample()
    assert unet.attn_processors == own
    torch.testing.assert_close(stored, plain, atol=1e-4, rtol=0)
    torch.testing.assert_close(summed, plain, atol=1e-4, rtol=0)
    assert len(kept) == 2 * LAYERS * alone.steps

    phrases = trace.maps()[8, 8][0].flatten(1)
    cross = [one[0].mean(0).T for one in kept if one.shape[2:] == (64, TEXT_LENGTH)]
    heat = [one for one in sums.values() if one.shape == (TEXT_LENGTH, 64)]
    for words in (torch.stack(cross).mean(0), torch.stack(heat).mean(0) / alone.steps):
        expected = torch.stack([words[columns].mean(0) for columns in FOUR_PHRASES])
        torch.testing.assert_close(phrases, expected, atol=1e-6, rtol=1e-4)


def test_processors_are_restored_after_an_exception(batch: Batch) -> None:
    with (
        pytest.raises(ValueError, match="one guided image at a time, that is a batch of 2, not 4"),
        sum_heat_maps(batch.pipeline.unet),
    ):
        batch.sample()
    kinds = {type(one) for one in batch.pipeline.unet.attn_processors.values()}
    assert kinds == {AttnProcessor2_0}


def test_heat_maps_take_two_small_operations_per_word_and_layer(batch: Batch) -> None:
    alone = batch.part(slice(1))

    def operations() -> Counter[str]:
        with profile() as profiler:
            alone.sample()
        return Counter(event.name for event in profiler.events())

    plain = operations()
    with sum_heat_maps(alone.pipeline.unet):
        summed = operations()
    calls = TEXT_LENGTH * LAYERS * alone.steps
    assert summed["aten::mean"] - plain["aten::mean"] == calls
    assert summed["aten::add_"] - plain["aten::add_"] == calls


def test_rounds_rotate_and_compare_with_plain(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []

    def method(name: str, change: float) -> Any:
        def sample(part: Batch) -> tuple[Tensor, int]:
            called.append(name)
            return part.sample() + change, 0

        return sample

    changes = {"plain": 0.0, "same": 0.0, "other": 1e-3}
    methods = {name: method(name, change) for name, change in changes.items()}
    monkeypatch.setattr(sampling, "METHODS", methods)
    seconds, identical = measure_times(batch, rounds=2)
    assert called == [
        *("plain", "same", "other"),
        *("same", "other", "plain"),
        *("other", "plain", "same"),
    ]
    assert {name: len(taken) for name, taken in seconds.items()} == dict.fromkeys(seconds, 2)
    assert all(one > 0 for taken in seconds.values() for one in taken)
    assert identical == {"plain": True, "same": True, "other": False}


def test_bars_hold_what_the_kind_of_run_can_show() -> None:
    rows: list[Row] = [
        {"method": "one_step", "ratio to plain": 1.01, "images identical": True},
        {"method": "all_steps", "ratio to plain": 1.06, "images identical": False},
    ]
    one = Bar("m: time, one step", 1.01, 1.02, True)
    every = Bar("m: time, all steps", 1.06, 1.05, False)
    identical = Bar("m: images identical when traced", 0.0, 1, False)
    assert bars_of("m", rows, quick=False, compiled=False) == [one, every, identical]
    assert bars_of("m", rows, quick=False, compiled=True) == [one]
    assert bars_of("m", rows, quick=True, compiled=False) == [identical]


def test_the_quick_run_compares_all_methods_on_both_models(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finished: list[Any] = []
    monkeypatch.setattr(sampling, "finish", lambda *args: finished.extend(args))
    sampling.main(quick=True)
    name, ran, rows, bars, folder = finished
    assert name == "sampling"
    assert folder is None
    assert ran["rounds"] == 2
    assert [row["method"] for row in rows] == 3 * list(METHODS)
    assert [row["images at a time"] for row in rows] == 2 * [2, 2, 2, 2, 1] + [1] * 5
    assert [row["ratio to plain"] for row in rows[::5]] == [1, 1, ""]
    assert all(row["images identical"] for row in rows[:10] if "step" in row["method"])
    # 4 bytes, two phrases: maps of 16, 8 and 4 in one captured step
    assert rows[1][RETAINED] == pytest.approx(4 * 2 * (256 + 64 + 16) / 1e6)
    assert len(bars) == 3
    assert all(bar.holds for bar in bars)
