from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.input_checks import Inputs
from tasks.machine import networks_bytes, run_bytes
from tasks.params import Params
from tasks.run_estimate import Cost, Run, device_names, estimate, total
from tasks.throughput import benchmark


def costs(params: Params, device: str = "cpu") -> dict[str, Cost]:
    run = Run(params, Inputs(params, Path()), device, device)
    return {cost.stage: cost for cost in estimate(run)}


def test_the_demo_costs_what_it_was_measured_to(make_params: Callable[..., Params]) -> None:
    params = make_params()
    found = costs(params)
    assert list(found) == list(Params.model_fields)
    assert all(cost.seconds is not None for cost in found.values())
    dear = ("sample_images", "extract_masks", "train_segmenter", "train_reference")
    for stage in ("render_storybook", *dear, "evaluate_segmenter", "write_report"):
        told = benchmark("demo", {"what": stage}, "seconds")
        assert told and found[stage].seconds == pytest.approx(told.value)
        assert told.basis in found[stage].basis
    assert found["adapt_lora"].seconds == 0
    whole = benchmark("demo", {"what": "make demo"}, "seconds")  # with the start of each stage
    assert whole and 0.9 < (total(list(found.values())).seconds or 0) / whole.value < 1


def test_more_images_and_steps_cost_in_proportion(make_params: Callable[..., Params]) -> None:
    once = costs(make_params())
    more = costs(
        make_params(
            {"expand_prompts.images_per_class": 300, "sample_images.num_inference_steps": 20}
        )
    )
    for stage, factor in (("sample_images", 4), ("extract_masks", 2), ("train_segmenter", 1)):
        assert more[stage].seconds == pytest.approx(factor * (once[stage].seconds or 0))
    for stage in ("sample_images", "extract_masks"):
        assert more[stage].disk == 2 * (once[stage].disk or 0)


def test_a_training_of_the_demo_costs_by_its_length_and_networks(
    make_params: Callable[..., Params],
) -> None:
    once, double = (
        costs(make_params({"train_segmenter.iterations": count})) for count in (1500, 3000)
    )
    for stage in ("train_segmenter", "train_reference"):
        assert double[stage].seconds == pytest.approx(2 * (once[stage].seconds or 0))
    single = costs(make_params({"train_segmenter.reliability": "weighted"}))
    assert single["train_segmenter"].seconds == once["train_reference"].seconds


def test_the_disk_is_what_preflight_asks_for(make_params: Callable[..., Params]) -> None:
    params = make_params()
    assert total(list(costs(params).values())).disk == run_bytes(params)
    assert costs(params)["train_segmenter"].disk == networks_bytes(params)


def test_what_is_off_costs_nothing_and_what_is_not_known_says_so(
    make_params: Callable[..., Params],
) -> None:
    changes = {
        "render_storybook.domain": "none",
        "train_reference.labelled_set": "none",
        "evaluate_segmenter.test_set": "somewhere",
        "sample_images.model": "somebody/other",
        "score_masks.similarity.model": "somebody/clip",
    }
    found = costs(make_params(changes), "NVIDIA H200")
    assert found["render_storybook"].seconds == found["train_reference"].seconds == 0
    unknown = [stage for stage, cost in found.items() if cost.seconds is None]
    assert unknown == ["sample_images", "score_masks", "train_segmenter", "evaluate_segmenter"]
    assert total(list(found.values())).basis == f"without {', '.join(unknown)}: not known"


def test_cross_validation_and_lora_are_trainings(make_params: Callable[..., Params]) -> None:
    changes = {
        "adapt_lora.adapter": "train",
        "adapt_lora.images": "images",
        "adapt_lora.batch_size": 16,
        "adapt_lora.gradient_accumulation": 2,
        "adapt_lora.steps": 10,
        "score_masks.cross_validation.folds": 3,
        "score_masks.cross_validation.iterations": 100,
    }
    found, plain = costs(make_params(changes)), costs(make_params())
    step = benchmark("lora_step", {"model": "storybook", "way": "adapt_lora"}, "seconds per step")
    assert step and found["adapt_lora"].seconds == pytest.approx(10 * 2 * step.value)
    single = benchmark("training_step", {"what": "training step, weighted"}, "ms a batch")
    gain = (found["score_masks"].seconds or 0) - (plain["score_masks"].seconds or 0)
    assert single and gain == pytest.approx(3 * 100 * single.value / 1000)


def test_a_gpu_can_be_reckoned_with(make_params: Callable[..., Params]) -> None:
    params = make_params({"sample_images.device": "cuda", "train_segmenter.device": "cpu"})
    assert device_names(params, "A100") == ("A100", "cpu")
    assert device_names(make_params(), "A100") == ("A100", "A100")
