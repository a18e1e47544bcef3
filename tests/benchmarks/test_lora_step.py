from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks import lora_step
from benchmarks.lora_step import (
    QUICK,
    SD15,
    compare,
    in_process,
    measure_alone,
    measure_times,
    peak_bytes,
    rows_of,
    write_images,
    written,
)
from benchmarks.record import Bar
from tasks.base_models import read_model

STORYBOOK, TINY = QUICK
LINUX = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="needs Linux, which tells a process's peak"
)


def test_the_large_encoders_have_stable_diffusion_15s_weights() -> None:
    with torch.device("meta"):
        autoencoder = AutoencoderKL(**SD15.autoencoder)
        text_encoder = CLIPTextModel(CLIPTextConfig(**SD15.text_encoder))
    assert sum(weight.numel() for weight in autoencoder.parameters()) == 83_653_863
    assert sum(weight.numel() for weight in text_encoder.parameters()) == 123_060_480


def test_the_training_is_written_and_goes_with_its_folder() -> None:
    with written(TINY) as job:
        model = read_model(Path(job.model))
        assert (model.text_length, model.vae_factor) == (77, 8)
        assert [image.name for image in job.images] == [f"000{n}.png" for n in range(4)]
    section = job.section
    assert (section.batch_size, section.flip, section.caption_dropout) == (1, False, 0)
    assert (section.rank, section.dtype) == (16, "bfloat16")
    assert not model.folder.exists()


def test_images_are_seeded_noise_with_two_classes_in_each_caption(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    images = write_images(tmp_path, 2, 8)
    again = write_images(tmp_path / "again", 2, 8)
    assert [image.digest for image in again] == [image.digest for image in images]
    assert images[0].digest != images[1].digest
    assert [image.caption for image in images] == [
        "a car and a boat on grass",
        "a tree and a house on grass",
    ]
    pixels = np.asarray(Image.open(images[1].path))
    expected = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(pixels, expected)


@LINUX
def test_the_peak_counts_what_was_held_during_the_work_alone() -> None:
    megabyte = 2**20
    before = bytearray(512 * megabyte)
    del before
    idle = peak_bytes(lambda: None)
    held = peak_bytes(lambda: bytearray(256 * megabyte))
    assert (held - idle) / megabyte == pytest.approx(256, abs=32)


@LINUX
def test_a_way_is_measured_in_a_process_of_its_own() -> None:
    here = bytearray(2**30)
    with written(TINY) as job:
        found = in_process("adapt_lora", job)
    assert len(here) == 2**30
    assert 0.2 < float(found["peak GiB"]) < 1  # most of it the libraries
    assert float(found["start, seconds"]) > 0


class Counting:
    """A training that only tells who took which step."""

    def __init__(self, way: str, told: list[tuple[str, int]]) -> None:
        self.way, self.told = way, told

    def step(self, step: int, /) -> Tensor:
        self.told.append((self.way, step))
        return torch.zeros(())


def test_steps_alternate_and_the_order_turns_every_round() -> None:
    told: list[tuple[str, int]] = []
    loops = {way: Counting(way, told) for way in ("plain", "adapt_lora")}
    seconds = measure_times("toy", loops, rounds=2)
    assert told == [
        *(("plain", 0), ("adapt_lora", 0)),
        *(("adapt_lora", 1), ("plain", 1)),
        *(("plain", 2), ("adapt_lora", 2)),
    ]
    assert {way: len(taken) for way, taken in seconds.items()} == {"plain": 2, "adapt_lora": 2}


def test_rows_have_medians_of_seconds_and_of_ratios() -> None:
    seconds = {"plain": [2.0, 3.0, 8.0], "adapt_lora": [1.0, 2.0, 10.0]}
    alone = {"plain": {"peak GiB": 2.0}, "adapt_lora": {"peak GiB": 1.0}}
    rows = rows_of("toy", seconds, alone)
    assert rows == {
        "plain": {
            "model": "toy",
            "way": "plain",
            "seconds per step": 3.0,
            "times as fast as plain": 1.0,
            "peak GiB": 2.0,
        },
        "adapt_lora": {
            "model": "toy",
            "way": "adapt_lora",
            "seconds per step": 2.0,
            "times as fast as plain": 1.5,
            "peak GiB": 1.0,
        },
    }


def test_a_step_that_is_too_slow_breaks_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {"plain": [2.2, 2.2], "adapt_lora": [2.0, 2.0]}
    told: list[tuple[str, int]] = []
    ways = {way: lambda _job, way=way: Counting(way, told) for way in taken}
    monkeypatch.setattr(lora_step, "WAYS", ways)
    monkeypatch.setattr(lora_step, "in_process", lambda way, _job: {"peak GiB": 1.0})
    monkeypatch.setattr(lora_step, "measure_times", lambda *_: taken)
    rows, bar = compare(replace(STORYBOOK, bound=1.2))
    assert [row["model"] for row in rows] == ["storybook, 64x64, batch 2, bfloat16"] * 2
    assert bar == Bar("storybook: a step, times as fast as plain", 1.1, 1.2, False)
    assert compare(replace(STORYBOOK, bound=1.0))[1].holds


@LINUX
def test_the_quick_run_compares_both_ways_on_both_models(monkeypatch: pytest.MonkeyPatch) -> None:
    finished: list[Any] = []
    monkeypatch.setattr(lora_step, "finish", lambda *args: finished.extend(args))
    monkeypatch.setattr(lora_step, "in_process", measure_alone)  # four processes take a minute
    lora_step.main(quick=True)
    name, ran, rows, bars, folder = finished
    assert (name, folder) == ("lora_step", None)
    assert ran["rounds"] == "storybook 2, tiny 2"
    assert [row["way"] for row in rows] == ["plain", "adapt_lora"] * 2
    assert [row["times as fast as plain"] for row in rows[::2]] == [1, 1]
    assert all(row["seconds per step"] > 0 for row in rows)
    assert [(bar.value, bar.bound) for bar in bars] == [
        (row["times as fast as plain"], 0) for row in rows[1::2]
    ]
