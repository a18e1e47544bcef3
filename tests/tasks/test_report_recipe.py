"""The recipe in words."""

from collections.abc import Callable

import pyarrow as pa
import yaml

from tasks.params import Params
from tasks.provenance import STAGES
from tasks.report_recipe import (
    SAMPLE_SECTIONS,
    as_yaml,
    asked,
    attention_in_words,
    masks_in_words,
    origin,
    sampling_in_words,
)

NAMES = ["car", "boat"]


def test_the_recipe_is_told_in_words(make_params: Callable[..., Params]) -> None:
    params = make_params()
    assert sampling_in_words(params) == "64x64 pixels, 10 steps of unipc, guidance 2.5, bfloat16"
    own = sampling_in_words(make_params({"sample_images.scheduler": "model"}))
    assert "10 steps of the model's scheduler, guidance" in own
    assert attention_in_words(params) == (
        "the class words' cross-attention at the middle step, maps of side 16, 8"
    )
    assert masks_in_words(params) == (
        "attn2mask: background = 1 - max A - 0.1; refined by a guided filter"
    )
    assert masks_in_words(make_params({"expand_prompts.background": "none"})) == (
        "attn2mask: no label = 1 - max A - 0.1; refined by a guided filter"
    )
    capture = {"steps": ["all"], "resolutions": None, "self_attention": None}
    params = make_params(
        {
            "sample_images.capture": capture,
            "extract_masks.method": "diffumask",
            "extract_masks.refine": "none",
        }
    )
    assert attention_in_words(params) == (
        "the class words' cross-attention averaged over all steps, maps of all sides"
    )
    assert masks_in_words(params) == (
        "diffumask: a threshold for each image and class, from 0.35 to 0.54; not refined"
    )


def test_what_all_samples_come_from(make_params: Callable[..., Params]) -> None:
    facts = origin(make_params(), {"digest": "ab" * 32}, {"source": "none", "digest": None})
    assert facts[:4] == [
        ("Base model", "models/storybook-sd"),
        ("Its SHA-256", "ab" * 32),
        ("Adapter", "none"),
        ("Sampling", "64x64 pixels, 10 steps of unipc, guidance 2.5, bfloat16"),
    ]
    adapter = {"source": "trained", "digest": "cd" * 32}
    facts = origin(make_params({"adapt_lora.scale": 0.5}), {"digest": "ab" * 32}, adapter)
    assert facts[2:4] == [("Adapter", "trained, scale 0.5"), ("Its SHA-256", "cd" * 32)]


def test_parameters_stand_as_in_the_file(make_params: Callable[..., Params]) -> None:
    params = make_params({"filter_masks.seed": 7})
    assert Params.model_validate(yaml.safe_load(as_yaml(params))) == params
    assert list(yaml.safe_load(as_yaml(params, ("filter_masks", "no_stage")))) == ["filter_masks"]


def test_a_sample_owes_its_page_what_lineage_says_made_it() -> None:
    assert tuple(STAGES) == SAMPLE_SECTIONS


def test_what_was_asked_of_the_scores(make_params: Callable[..., Params]) -> None:
    params = make_params({"filter_masks.min_peak": {"quantile": 0.5}})
    classes = [{"name": "boat", "peak": peak} for peak in (0.25, 0.5, 0.75)]
    scores = pa.table({"finite": [True] * 3, "classes": [[one] for one in classes]})
    found = {(one["score"], one["least"]): one for one in asked(params.filter_masks, NAMES, scores)}
    assert found["area", True]["bounds"] == 0.04 and found["area", True]["quantile"] is None
    assert found["image.dark", False]["bounds"] == 0.98
    assert found["peak", True] == {
        "score": "peak", "least": True, "quantile": 0.5, "bounds": [None, 0.5],
    }  # fmt: skip
    unknown = asked(params.filter_masks, NAMES, None)
    assert [one["bounds"] for one in unknown if one["quantile"]] == [[None, None]]
