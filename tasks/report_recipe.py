"""What the report says of the recipe: in words, and as what one sample owes it.

Imports no torch.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import yaml

from tasks.params import FilterMasks, Params
from tasks.rule_bounds import quantile_bounds, rules_of

Row = dict[str, Any]

SAMPLE_SECTIONS = (
    "expand_prompts",
    "sample_images",
    "extract_masks",
    "score_masks",
    "filter_masks",
)
"""The parameters that made a sample, its mask and its verdict: of `tasks.provenance.STAGES`."""


def sampling_in_words(params: Params) -> str:
    """How the images were sampled."""
    section = params.sample_images
    scheduler = "the model's scheduler" if section.scheduler == "model" else section.scheduler
    return (
        f"{section.width}x{section.height} pixels, {section.num_inference_steps} steps of "
        f"{scheduler}, guidance {section.guidance_scale:g}, {section.dtype}"
    )


def attention_in_words(params: Params) -> str:
    """Which attention the masks are made from."""
    section = params.extract_masks
    named = {"middle": "at the middle step", "all": "averaged over all steps"}
    steps = named.get(str(section.step), f"at step {section.step}")
    sides = section.resolutions or params.sample_images.capture.resolutions
    maps = f"maps of side {', '.join(map(str, sides))}" if sides else "maps of all sides"
    return f"the class words' cross-attention {steps}, {maps}"


def masks_in_words(params: Params) -> str:
    """How attention became label maps."""
    section = params.extract_masks
    rest = "background" if params.expand_prompts.background == "rest" else "no label"
    how = {
        "attn2mask": f"{rest} = 1 - max A - {section.attn2mask.beta:g}",
        "averaged": f"{rest} = 1 - max A - {section.averaged.beta:g}",
        "self_attention": f"spread {section.self_attention.power} times by self-attention, a class "
        f"from {section.self_attention.foreground:g}, no label from "
        f"{section.self_attention.ignore:g}",
        "diffumask": "a threshold for each image and class, from "
        f"{section.diffumask.lowest:g} to {section.diffumask.highest:g}",
    }
    refined = {
        "none": "not refined",
        "guided": "refined by a guided filter",
        "crf": "refined by a dense CRF",
    }
    return f"{section.method}: {how[section.method]}; {refined[section.refine]}"


def as_yaml(params: Params, sections: tuple[str, ...] | None = None) -> str:
    """The parameters as they stand in ``params.yaml``: all of them, or some sections' ones."""
    values = params.model_dump(mode="json")
    if sections is not None:
        values = {name: values[name] for name in sections if name in values}
    return yaml.safe_dump(values, sort_keys=False)


def origin(params: Params, model: Row, adapter: Row) -> list[tuple[str, str]]:
    """What all samples of the run come from, as label and value.

    Args:
        params: of the run.
        model: ``data/inputs/model.json``.
        adapter: ``models/lora/adapter.json``.
    """
    facts = [("Base model", params.sample_images.model), ("Its SHA-256", model["digest"])]
    if adapter["digest"] is None:
        facts.append(("Adapter", "none"))
    else:
        facts.append(("Adapter", f"{adapter['source']}, scale {params.adapt_lora.scale:g}"))
        facts.append(("Its SHA-256", adapter["digest"]))
    return [
        *facts,
        ("Sampling", sampling_in_words(params)),
        ("Attention", attention_in_words(params)),
        ("Mask", masks_in_words(params)),
    ]


def asked(section: FilterMasks, names: Sequence[str], scores: pa.Table | None) -> list[Row]:
    """What ``filter_masks`` asks of the scores, for the sample's page.

    Args:
        section: of the run.
        names: of the classes, by code.
        scores: ``data/scores``, which quantiles are of; None where there is none.

    Returns:
        ``score`` (as the gallery names it), ``least`` (whether smaller ones break it), ``quantile``
        (None where the bound is a number) and ``bounds``: one, or one a class (None if unknown).
    """
    rows = []
    for rule in rules_of(section.model_dump(mode="json")):
        bounds: float | list[float | None] | None = rule.limit
        if rule.quantile is not None:
            found = quantile_bounds(rule, scores) if scores is not None else {}
            bounds = [found.get(name) for name in names]
        rows.append(
            {
                "score": rule.score if rule.of_class else f"image.{rule.score}",
                "least": rule.is_least,
                "quantile": rule.quantile,
                "bounds": bounds,
            }
        )
    return rows
