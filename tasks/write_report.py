"""Stage ``write_report``: one static page to look at everything that a run has made.

The page needs no network and no other file: pictures, style and the little script that filters the
gallery are inside. The same data give the same bytes.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cyclopts
import jinja2
import numpy as np
import yaml

from tasks import pictures, records
from tasks.captures import decode_capture
from tasks.charts import line_chart
from tasks.entry import run_stage
from tasks.label_maps import IGNORE, decode
from tasks.params import ExtractMasks, FilterMasks, Params, Quantile, Ratio
from tasks.pictures import RGB, data_uri, is_pixel_art, thumbnail
from tasks.report_adaptation import read_adaptation, seen_pictures
from tasks.shards import Member, parse_uri

TEMPLATES = Path(__file__).parent / "report_templates"

RULES = {
    "min_area": "covers too little of the image",
    "max_area": "covers too much of the image",
    "min_peak": "attention too weak",
    "min_margin": "too close to another class",
    "max_entropy": "scores too even",
    "min_agreement": "refinement changed it too much",
    "max_components": "in too many pieces",
    "min_largest": "scattered over pieces",
    "max_border": "cut off by the image's border",
    "min_quality": "networks that have not seen it disagree",
    "finite": "damaged, or attention that is no number",
    "max_dark": "black image",
    "min_contrast": "flat image",
    "min_similarity": "does not fit its prompt",
    "duplicates": "near duplicate of an earlier image",
    "max_per_class": "more of its class than asked for",
}
"""What it means to be rejected by a threshold of ``filter_masks``."""

Row = dict[str, Any]


def spread(rows: Iterable[Row], count: int, seed: int) -> list[Row]:
    """``count`` rows, as evenly over the classes as they allow; which ones, ``seed`` decides.

    A row counts for its first class. Within a class rows are taken in the order of a hash.
    """
    queues: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        queues[row["classes"][0]["name"]].append(row)
    for queue in queues.values():
        queue.sort(key=lambda row: records.content_id("gallery", seed, row["sample_id"]))
    longest = max((len(queue) for queue in queues.values()), default=0)
    turns = (
        queue[turn] for turn in range(longest) for queue in queues.values() if turn < len(queue)
    )
    return [row for row, _ in zip(turns, range(count), strict=False)]


def choose_gallery(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    """Samples to show: a third rejected ones, or more where few were kept; each part `spread`.

    Returns:
        Rows ordered by first class, in each class the kept ones first.
    """
    kept = [row for row in rows if row["kept"]]
    rejected = [row for row in rows if not row["kept"]]
    bad = min(len(rejected), max(count // 3, count - len(kept)))
    chosen = spread(kept, count - bad, seed) + spread(rejected, bad, seed)
    order = {row["classes"][0]["name"]: number for number, row in reversed(list(enumerate(rows)))}
    return sorted(chosen, key=lambda row: (order[row["classes"][0]["name"]], not row["kept"]))


def segments(text: str, classes: Sequence[Row]) -> list[Row]:
    """A prompt cut at its class words: ``{"text", "name"}``, name None between them."""
    parts, at = [], 0
    for word in sorted(classes, key=lambda one: one["start"]):
        parts.append({"text": text[at : word["start"]], "name": None})
        parts.append({"text": text[word["start"] : word["end"]], "name": word["name"]})
        at = word["end"]
    parts.append({"text": text[at:], "name": None})
    return [part for part in parts if part["text"]]


def headline(evaluation: Row, training: Row, reference: Row, adaptation: Row | None) -> str:
    """The result in a sentence or two."""
    made = f"trained on {training['images']:,} synthetic images, {seen_pictures(adaptation)}"
    if evaluation["miou"] is None:
        return (
            f"A segmentation network was {made}. How well it does on real images was not measured."
        )
    text = (
        f"A segmentation network {made}, "
        f"reaches {evaluation['miou']:.3f} mIoU on {evaluation['images']:,} labelled test images"
    )
    if evaluation["ratio"] is None:
        return f"{text}. There is no real-trained network to compare it with."
    return (
        f"{text}: {evaluation['ratio'] * 100:.0f} % of what the same network reaches when it is "
        f"trained on {reference['images']:,} real labelled images."
    )


def result_rows(evaluation: Row, colours: dict[str, str]) -> list[Row]:
    """IoU of each class for the bars, in the order of the evaluation."""
    ours = evaluation["per_class"] or {}
    theirs = evaluation["reference_per_class"] or {}
    return [
        {
            "name": name,
            "colour": colours[name],
            "synthetic": ours.get(name),
            "reference": theirs.get(name),
        }
        for name in {**ours, **theirs}
    ]


def funnel(prompts: int, summary: Row, section: FilterMasks) -> tuple[list[Row], list[Row]]:
    """How many rows came through each step, and which threshold turned the others away."""
    steps = [
        ("prompts", prompts, ""),
        ("images sampled", summary["samples"], ""),
        ("masks kept", summary["kept"], f"{summary['rejected']:,} rejected"),
        ("used for training", summary["train"], f"{summary['val']:,} held out to watch it"),
    ]
    whole = max(prompts, 1)
    reasons = [
        {
            "rule": rule,
            "text": RULES.get(rule, rule),
            "bound": _bound(section, rule),
            "count": count,
            "share": count / max(summary["rejected"], 1),
        }
        for rule, count in sorted(summary["reasons"].items(), key=lambda item: (-item[1], item[0]))
    ]
    return [
        {"text": text, "count": count, "share": count / whole, "note": note}
        for text, count, note in steps
    ], reasons


def kept_per_class(rows: Sequence[Row], names: Sequence[str], colours: dict[str, str]) -> list[Row]:
    """For each class: in how many samples it was asked for, and how many of them were kept."""
    asked: dict[str, list[bool]] = {name: [] for name in names}
    for row in rows:
        for name in {scores["name"] for scores in row["classes"]}:
            asked[name].append(row["kept"])
    most = max((len(verdicts) for verdicts in asked.values()), default=0) or 1
    return [
        {
            "name": name,
            "colour": colours[name],
            "asked": len(verdicts),
            "kept": sum(verdicts),
            "asked_share": len(verdicts) / most,
            "kept_share": sum(verdicts) / most,
        }
        for name, verdicts in asked.items()
    ]


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


def examples(cards: Sequence[Row]) -> list[Row]:
    """One kept sample of each class, if there is one: better one that shows the class alone."""
    found: dict[str, Row] = {}
    for card in sorted(cards, key=lambda card: len(card["names"])):
        if card["kept"]:
            found.setdefault(card["names"][0], card)
    return [card for card in cards if found.get(card["names"][0]) is card]


def thirds(panes: int) -> int:
    """How many of two or more panes, the first ones, stand three in a row; the others go by two."""
    return panes - (0, 4, 2)[panes % 3]


def sample_card(row: Row, prompt: Row, palette: list[RGB], masks: ExtractMasks, root: Path) -> Row:
    """A sample with its pictures inline, read from the shards."""
    image, label, reliability = (
        thumbnail(decode(_read(row[key], root))) for key in ("image", "label", "reliability")
    )
    captured = decode_capture(_read(row["attention"], root))
    heat = captured.maps(masks.step, masks.resolutions)[0].astype(np.float32)
    return {
        "id": row["sample_id"],
        "names": [scores["name"] for scores in row["classes"]],
        "segments": segments(row["text"], prompt["classes"]),
        "text": row["text"],
        "words": prompt["classes"],
        "scores": row["classes"],
        "kept": row["kept"],
        "split": row["split"],
        "reason": row["reason"],
        "sharp": is_pixel_art(image),
        "image": data_uri(image),
        "labels": data_uri(pictures.label_overlay(image, label, palette)),
        "heats": [data_uri(pictures.heat_overlay(image, one)) for one in heat],
        "thirds": thirds(len(heat) + 1),
        "reliability": data_uri(pictures.reliability_picture(reliability)),
    }


def test_card(image_path: Path, palette: list[RGB]) -> Row:
    """An image of the test set, its truth, and what each measured network makes of it."""
    stem = image_path.name.removesuffix(".image.png")
    image, truth = (
        decode(image_path.with_name(f"{stem}.{what}.png").read_bytes())
        for what in ("image", "truth")
    )
    small, small_truth = thumbnail(image), thumbnail(truth)
    networks = []
    for what, name in (("prediction", "synthetic only"), ("reference", "reference")):
        path = image_path.with_name(f"{stem}.{what}.png")
        if path.exists():
            label = decode(path.read_bytes())
            counted = truth != IGNORE
            seen = thumbnail(label)
            networks.append(
                {
                    "name": name,
                    "right": float((truth == label)[counted].mean()) if counted.any() else None,
                    "labels": data_uri(pictures.label_overlay(small, seen, palette)),
                    "errors": data_uri(pictures.difference(small, small_truth, seen)),
                }
            )
    return {
        "name": stem,
        "sharp": is_pixel_art(image),
        "image": data_uri(small),
        "truth": data_uri(pictures.label_overlay(small, small_truth, palette)),
        "networks": networks,
    }


def render(context: Row) -> str:
    """The page; everything in ``context`` is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("index.html.j2").render(context)


def run(params: Params, root: Path = Path()) -> None:
    """Write ``report/index.html``."""
    section = params.expand_prompts
    names = section.class_names
    palette = pictures.label_colours(len(names), background=section.background == "rest")
    colours = {
        name: "#{:02x}{:02x}{:02x}".format(*colour)
        for name, colour in zip(section.label_names, palette, strict=True)
    }
    prompts = records.read_rows(root / "data/prompts.parquet")
    rows = records.read_rows(root / "data/dataset/index.parquet")
    summary, training, reference, evaluation = (
        records.read_json(root / f"metrics/{name}.json")
        for name in ("filter", "training", "reference_training", "evaluation")
    )
    adaptation = read_adaptation(params, root)
    prompt_of = {row["prompt_id"]: row for row in prompts}
    chosen = choose_gallery(rows, params.write_report.gallery, params.write_report.seed)
    cards = [
        sample_card(row, prompt_of[row["prompt_id"]], palette, params.extract_masks, root)
        for row in chosen
    ]
    tests = sorted((root / "data/evaluation").glob("*.image.png"))
    steps, reasons = funnel(len(prompts), summary, params.filter_masks)
    context = {
        "params": params,
        "parameters": yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False),
        "model": records.read_json(root / "data/inputs/model.json"),
        "attention": attention_in_words(params),
        "masks": masks_in_words(params),
        "names": names,
        "colours": colours,
        "headline": headline(evaluation, training, reference, adaptation),
        "adaptation": adaptation,
        "samples": len(rows),
        "evaluation": evaluation,
        "training": training,
        "reference": reference,
        "result_rows": result_rows(evaluation, colours),
        "prompt_counts": records.read_json(root / "metrics/prompts.json"),
        "steps": steps,
        "reasons": reasons,
        "per_class": kept_per_class(rows, names, colours),
        "loss_chart": _chart("curve", "Loss", training, reference),
        "val_chart": _chart("val", "mIoU on held-out images", training, reference, top=1.0),
        "tests": [test_card(path, palette) for path in tests],
        "cards": cards,
        "examples": examples(cards),
    }
    page = root / "report/index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(context), encoding="utf-8")


def _bound(section: FilterMasks, rule: str) -> str:
    """A rule's bound as ``params.yaml`` has it, or nothing."""
    bound = getattr(section, rule, "")
    if isinstance(bound, Quantile):
        return f"quantile {bound.quantile:g}"
    if isinstance(bound, Ratio):
        return f"ratio {bound.ratio:g}"
    return bound if isinstance(bound, str) else f"{bound:g}"


def _chart(key: str, what: str, training: Row, reference: Row, top: float | None = None) -> Any:
    series = {"synthetic": training.get(key, []), "reference": reference.get(key, [])}
    return line_chart(series, what, top)


def _read(uri: str, root: Path) -> bytes:
    member = parse_uri(uri)
    return Member(str(root / member.path), member.offset, member.size).read()


def main() -> None:
    """Write the page to look at everything: report/index.html."""
    run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
