"""Stage ``write_report``: pages to look at everything that a run has made, in one folder.

``index.html`` tells of the run; ``gallery.html`` shows every sample, with filters, and where each
comes from. They open from disk, without a server and without a network: data and pictures are
scripts under ``data/`` that a page loads when it needs them. The same data give the same bytes.
"""

import shutil
from pathlib import Path
from typing import Any

import cyclopts

from tasks import pictures, records
from tasks.entry import run_stage
from tasks.params import RELATIONS, Params
from tasks.report_adaptation import read_adaptation
from tasks.report_evaluation import confusion, headline, image_card, read_confusion, result_rows
from tasks.report_funnel import class_balance, funnel, rule_text
from tasks.report_pages import FILES, SCRIPTS, TEMPLATES, render
from tasks.report_parts import SPLITS, write_parts
from tasks.report_pictures import GROUP, choose_pictured, examples, write_pictures
from tasks.report_recipe import (
    SAMPLE_SECTIONS,
    as_yaml,
    asked,
    attention_in_words,
    masks_in_words,
    origin,
    sampling_in_words,
)
from tasks.report_samples import PART, Samples, read_samples
from tasks.report_training import curve, reliability

EXAMPLES = 12
"""Samples at the head of the overview."""

Row = dict[str, Any]


def overview(params: Params, samples: Samples, colours: dict[str, str], root: Path) -> Row:
    """What ``index.html`` shows, but for the examples."""
    names = params.expand_prompts.class_names
    palette = _palette(params)
    summary, training, reference, evaluation, prompts = (
        records.read_json(root / f"metrics/{name}.json")
        for name in ("filter", "training", "reference_training", "evaluation", "prompts")
    )
    adaptation = read_adaptation(params, root)
    counted = read_confusion(root / "data/evaluation")
    steps, reasons = funnel(samples.prompts, summary, params.filter_masks)
    tests = sorted((root / "data/evaluation").glob("*.image.png"))
    return {
        "parameters": as_yaml(params),
        "model": records.read_json(root / "data/inputs/model.json"),
        "sampling": sampling_in_words(params),
        "attention": attention_in_words(params),
        "masks": masks_in_words(params),
        "headline": headline(evaluation, training, reference, adaptation),
        "adaptation": adaptation,
        "evaluation": evaluation,
        "confusion": counted and confusion(*counted),
        "training": training,
        "reference": reference,
        "result_rows": result_rows(evaluation, colours),
        "prompt_counts": prompts,
        "steps": steps,
        "reasons": reasons,
        "balance": class_balance(samples, names, colours),
        "loss_chart": curve("curve", "Loss", training, reference),
        "val_chart": curve("val", "mIoU on held-out images", training, reference, top=1.0),
        "reliability": reliability(training, colours),
        "tests": [image_card(path, palette) for path in tests],
    }


def about(params: Params, samples: Samples, pictured: int, root: Path) -> Row:
    """What the gallery's scripts know before any data are loaded."""
    names, palette = params.expand_prompts.class_names, _palette(params)
    by_class, by_image = samples.scores()
    model = records.read_json(root / "data/inputs/model.json")
    adapter = records.read_json(root / "models/lora/adapter.json")
    return {
        "samples": len(samples),
        "entries": samples.entries,
        "parts": -(-len(samples) // PART),
        "part": PART,
        "pictured": pictured,
        "group": GROUP,
        "classes": [
            {"name": name, "colour": _hex(colour)}
            for name, colour in zip(names, palette[-len(names) :], strict=True)
        ],
        "splits": SPLITS,
        "relations": RELATIONS,
        "rules": [{"key": rule, "text": rule_text(rule)} for rule in samples.rules()],
        "scores": [*by_class, *(f"image.{name}" for name in by_image)],
        "asked": asked(params.filter_masks, names, samples.scores_table),
        "absent": params.filter_masks.absent,
        "origin": origin(params, model, adapter),
        "parameters": as_yaml(params, SAMPLE_SECTIONS),
    }


def run(params: Params, root: Path = Path()) -> None:
    """Write ``report/``."""
    section, names = params.write_report, params.expand_prompts.class_names
    palette = _palette(params)
    colours = {
        name: _hex(colour)
        for name, colour in zip(params.expand_prompts.label_names, palette, strict=True)
    }
    samples = read_samples(root)
    pictured = choose_pictured(samples, section.gallery, section.seed)
    shared = {
        "home": "",
        "params": params,
        "names": names,
        "colours": colours,
        "samples": len(samples),
    }
    pages = {
        "index.html": overview(params, samples, colours, root)
        | {"examples": examples(samples, pictured, palette, EXAMPLES, root)},
        "gallery.html": {"about": about(params, samples, len(pictured), root), "scripts": SCRIPTS},
    }
    out = root / "report"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for name, context in pages.items():
        (out / name).write_text(render(name, shared | context), encoding="utf-8")
    for name in FILES:
        shutil.copyfile(TEMPLATES / name, out / name)
    numbers = {row: number for number, row in enumerate(pictured)}
    write_parts(samples, names, numbers, out / "data")
    write_pictures(samples, pictured, palette, params.extract_masks, out / "data", root)


def _palette(params: Params) -> list[pictures.RGB]:
    section = params.expand_prompts
    background = section.background == "rest"
    return pictures.label_colours(len(section.class_names), background=background)


def _hex(colour: pictures.RGB) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def main() -> None:
    """Write the pages to look at everything: report/index.html, report/gallery.html."""
    run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
