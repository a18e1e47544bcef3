import json
from pathlib import Path

import pytest

from tasks import throughput
from tasks.params import SampleImages, load_params
from tasks.throughput import (
    Measured,
    benchmark,
    keep_measured,
    known_gpu,
    read_measured,
    sampling_seconds,
)

ROOT = Path(__file__).parents[2]
VOC = load_params(ROOT / "presets/voc12.yaml")
A100 = "NVIDIA A100-SXM4-80GB"


def seconds(section: SampleImages, device: str, root: Path) -> float:
    found = sampling_seconds(section, None, device, root)
    assert found
    return found.value


def test_a_published_speed_is_scaled_by_steps_pixels_and_guidance(tmp_path: Path) -> None:
    section = VOC.sample_images
    told = sampling_seconds(section, None, A100, tmp_path)
    assert told and told.value == pytest.approx(100 / 46.4)
    assert told.basis.startswith("published: diffusers, ") and told.basis.endswith("A100")
    for change, factor in (
        ({"num_inference_steps": 50}, 0.5),
        ({"guidance_scale": 1.0}, 0.5),
        ({"height": 256, "width": 256}, 0.25),
    ):
        changed = seconds(section.model_copy(update=change), A100, tmp_path)
        assert changed == pytest.approx(told.value * factor)


def test_what_nobody_has_measured_is_not_known(tmp_path: Path) -> None:
    other = VOC.sample_images.model_copy(update={"model": "somebody/other"})
    assert sampling_seconds(other, None, A100, tmp_path) is None
    assert sampling_seconds(VOC.sample_images, None, "NVIDIA H200", tmp_path) is None
    assert known_gpu("Quadro T400") is None


def test_a_benchmark_speaks_for_its_own_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled = "SD1.5's shape, 256x256, batch 16, steps 40, bfloat16"
    row = {"model": sampled, "method": "one_step", "images/s": 5.0}
    content = {
        "ran": {"command": "python -m b", "date": "2026-01-01", "machine": "2 cores"},
        "rows": [row],
        "bars": [{"name": "peak memory, GiB", "value": 1.5}],
    }
    (tmp_path / "sampling.json").write_text(json.dumps(content))
    monkeypatch.setattr(throughput, "RESULTS", tmp_path)
    told = sampling_seconds(VOC.sample_images, None, "cpu", tmp_path)
    assert told and told.value == pytest.approx(1 / 5 * 4 * 100 / 40)  # four times the pixels
    assert told.basis == "measured: python -m b, 2026-01-01, 2 cores"
    bar = benchmark("sampling", {"name": "peak memory"}, "value")
    assert bar and bar.value == 1.5
    assert benchmark("sampling", {"model": "other"}, "images/s") is None
    assert benchmark("nothing", {}, "images/s") is None


def test_what_was_measured_here_comes_first(tmp_path: Path) -> None:
    section = VOC.sample_images
    one = Measured(
        model=section.model,
        device=A100,
        dtype="float16",
        height=512,
        width=512,
        batch_size=8,
        guided=True,
        seconds_per_step=0.01,
        seconds_per_image=0.2,
        memory=9 * 10**9,
        date="2026-01-01",
    )
    keep_measured(one, tmp_path)
    assert seconds(section, A100, tmp_path) == pytest.approx(0.2 + 100 * 0.01)
    faster = section.model_copy(update={"num_inference_steps": 50})
    assert seconds(faster, A100, tmp_path) == pytest.approx(0.2 + 50 * 0.01)
    for change in ({"batch_size": 4}, {"guidance_scale": 0.0}, {"dtype": "bfloat16"}):
        other = section.model_copy(update=change)
        told = sampling_seconds(other, None, A100, tmp_path)
        assert told and told.basis.startswith("published")
    keep_measured(one, tmp_path)
    assert read_measured(tmp_path) == [one]
    (tmp_path / throughput.MEASURED).write_text("[1]")
    assert read_measured(tmp_path) == []
