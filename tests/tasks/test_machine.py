"""Room that a run takes, rights and devices."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tasks.machine import (
    SAMPLED_ELSEWHERE,
    choose_device,
    gpu_facts,
    gpu_problems,
    machine_problems,
    mask_bytes,
    run_bytes,
    sample_bytes,
)
from tasks.params import InputError, Params


def test_bytes_of_a_run(make_params: Callable[..., Params]) -> None:
    # 8 classes of 150 images of 64x64: 5 bytes a pixel, two sides of three phrases' maps in
    # float16, four tar headers
    sample = 5 * 4096 + 6 * (256 + 64) + 4096
    assert run_bytes(make_params()) == 2 * 1200 * sample + 500_000_000
    capture = {
        "steps": ["middle", "all"],
        "resolutions": [16, 8],
        "self_attention": {"resolution": 8, "step": "middle"},
    }
    sample += 6 * (256 + 64) + 2 * 64 * 64  # the other step, self-attention
    assert run_bytes(make_params({"sample_images.capture": capture})) == 2400 * sample + 500_000_000


def test_networks_for_photographs_take_more_room(make_params: Callable[..., Params]) -> None:
    photographs = {
        "train_segmenter.config": "mmseg_configs/voc12/deeplabv3plus_r101-d8_voc12-512x512.py"
    }
    assert run_bytes(make_params(photographs)) - run_bytes(make_params()) == 3_500_000_000


def test_more_maps_wider_labels_and_more_phrases_take_more_room(
    make_params: Callable[..., Params],
) -> None:
    alone = mask_bytes(make_params())
    assert alone == 2 * 4096 + 2 * 1024
    scaled = make_params({"extract_masks.response_scalings": [0.5, 2.0]})
    assert mask_bytes(scaled) == alone + 4096 + 1024
    many = [{"name": f"kind {n}", "phrases": [f"kind {n}"]} for n in range(255)]
    assert mask_bytes(make_params({"expand_prompts.classes": many})) == alone + 4096
    three = sample_bytes(make_params())
    phrase = 2 * (256 + 64)  # float16 maps of 16x16 and 8x8
    street = {"expand_prompts.max_classes": 4, "expand_prompts.always": ["car", "tree"]}
    assert sample_bytes(make_params(street)) == three + 3 * phrase
    assert sample_bytes(make_params({"expand_prompts.several_share": 0.0})) == three - 2 * phrase


def test_folders_that_cannot_be_written_are_named(
    make_params: Callable[..., Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("data", "metrics", "report"):
        (tmp_path / name).mkdir()
    shut = {tmp_path / "metrics", tmp_path / "report"}
    monkeypatch.setattr(os, "access", lambda path, _mode: path not in shut)
    problems = machine_problems(make_params(), tmp_path)
    assert problems == ["disk: cannot write to metrics, report; give this user the right to"]


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:", "mps"])
def test_a_device_of_another_name_is_refused(
    make_params: Callable[..., Params], tmp_path: Path, device: str
) -> None:
    params = make_params({"train_segmenter.device": device})
    expected = f"train_segmenter.device: must be auto, cpu, cuda or cuda:N, not {device!r}"
    assert machine_problems(params, tmp_path) == [expected]
    assert gpu_problems(params) == []


def test_the_device_of_an_adapter_matters_where_one_is_trained(
    make_params: Callable[..., Params], tmp_path: Path
) -> None:
    device = {"adapt_lora.device": "gpu"}
    assert machine_problems(make_params(device), tmp_path) == []
    training = {"adapt_lora.adapter": "train", "adapt_lora.images": "own"}
    (problem,) = machine_problems(make_params(device | training), tmp_path)
    assert problem.startswith("adapt_lora.device: must be auto, cpu, cuda or cuda:N, not 'gpu'")


@pytest.mark.parametrize(
    ("count", "device", "refused"),
    [(0, "cuda", True), (1, "cuda", False), (1, "cuda:0", False), (1, "cuda:1", True)],
)
def test_a_gpu_that_is_asked_for_must_be_there(
    make_params: Callable[..., Params],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    device: str,
    refused: bool,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    problems = gpu_problems(make_params({"sample_images.device": device}))
    assert [problem.partition(":")[0] for problem in problems] == (
        ["sample_images.device"] if refused else []
    )
    assert all(f"sees {count} CUDA devices; choose auto or cpu" in text for text in problems)


def test_a_gpu_of_other_machines_need_not_be_here(
    make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    params = make_params({"sample_images.device": "cuda", "train_segmenter.device": "cuda"})
    before = gpu_facts()
    monkeypatch.setenv(SAMPLED_ELSEWHERE, "1")
    (problem,) = gpu_problems(params)
    assert problem.startswith("train_segmenter.device: cuda is not there")
    assert gpu_facts() != before


@pytest.mark.parametrize(
    ("count", "device", "refused"),
    [(0, "auto", True), (0, "cpu", True), (1, "auto", False), (1, "cpu", True)],
)
def test_float16_is_for_gpus(
    make_params: Callable[..., Params],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    device: str,
    refused: bool,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    changes = {"sample_images.dtype": "float16", "sample_images.device": device}
    problems = gpu_problems(make_params(changes))
    assert [problem.partition(": ")[0] for problem in problems] == (
        ["sample_images.dtype"] if refused else []
    )


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "^own.device: must be auto, cpu, cuda or cuda:N, not 'gpu'"),
        ("cuda:1", r"^own.device: cuda:1 is not there: PyTorch .* sees 1 .*; choose auto or cpu"),
    ],
)
def test_a_device_that_is_not_there_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch, device: str, message: str
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(InputError, match=message):
        choose_device(device, "own.device")
    assert [choose_device(name) for name in ("cpu", "cuda", "cuda:0")] == ["cpu", "cuda", "cuda:0"]
