"""The page: what it says, what it escapes, and what it says when something is missing."""

import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import records
from tasks.captures import Captured
from tasks.label_maps import encode_grey, encode_image, encode_label
from tasks.params import Params
from tasks.shards import write_shard
from tasks.write_report import (
    attention_in_words,
    choose_gallery,
    examples,
    funnel,
    headline,
    kept_per_class,
    masks_in_words,
    result_rows,
    run,
    segments,
    spread,
    thirds,
)

Row = dict[str, Any]
Make = Callable[..., Params]


def row(number: int, name: str, kept: bool = True, *others: str) -> Row:
    return {
        "sample_id": f"{number:04d}",
        "classes": [{"name": each} for each in (name, *others)],
        "kept": kept,
    }


def first_classes(rows: list[Row]) -> list[str]:
    return [one["classes"][0]["name"] for one in rows]


def test_samples_are_spread_evenly_over_the_classes() -> None:
    cars, boats = [row(n, "car") for n in range(90)], [row(n, "boat") for n in range(90, 92)]
    chosen = spread(cars + boats, 6, seed=0)
    assert first_classes(chosen) == ["car", "boat", "car", "boat", "car", "car"]
    assert spread(cars[::-1] + boats, 6, seed=0) == chosen
    assert spread(cars + boats, 6, seed=1) != chosen


def test_more_samples_than_there_are_means_all() -> None:
    rows = [row(n, "car") for n in range(3)]
    assert sorted(one["sample_id"] for one in spread(rows, 9, seed=0)) == ["0000", "0001", "0002"]


@pytest.mark.parametrize(
    ("kept", "rejected", "shown"),
    [(90, 90, (8, 4)), (90, 2, (10, 2)), (3, 90, (3, 9)), (0, 90, (0, 12)), (90, 0, (12, 0))],
)
def test_a_third_of_the_gallery_is_rejected_ones(
    kept: int, rejected: int, shown: tuple[int, int]
) -> None:
    rows = [row(n, ("car", "boat")[n % 2], n < kept) for n in range(kept + rejected)]
    chosen = choose_gallery(rows, 12, seed=0)
    verdicts = [one["kept"] for one in chosen]
    assert (verdicts.count(True), verdicts.count(False)) == shown
    order = [(first_classes([one])[0] == "boat", not one["kept"]) for one in chosen]
    assert order == sorted(order)


def test_an_example_shows_its_class_alone_if_it_can() -> None:
    cards = [
        {"names": ["car", "boat"], "kept": True},
        {"names": ["car"], "kept": False},
        {"names": ["car"], "kept": True},
        {"names": ["boat", "car"], "kept": True},
        {"names": ["tree"], "kept": False},
    ]
    assert examples(cards) == [cards[2], cards[3]]


@pytest.mark.parametrize(
    ("panes", "rows"),
    [(2, [2]), (3, [3]), (4, [2, 2]), (5, [3, 2]), (6, [3, 3]), (7, [3, 2, 2]), (8, [3, 3, 2])],
)
def test_rows_of_panes_are_full(panes: int, rows: list[int]) -> None:
    small = thirds(panes)
    assert [3] * (small // 3) + [2] * ((panes - small) // 2) == rows


def test_prompts_are_cut_at_their_class_words() -> None:
    words = [{"name": "bird", "start": 12, "end": 15}, {"name": "tree", "start": 3, "end": 6}]
    parts = segments("an oak, and owl", words)
    assert [(part["text"], part["name"]) for part in parts] == [
        ("an ", None),
        ("oak", "tree"),
        (", and ", None),
        ("owl", "bird"),
    ]


EVALUATION: Row = {
    "miou": 0.7,
    "reference_miou": 0.9,
    "ratio": 0.7778,
    "per_class": {"background": 0.95, "car": 0.6, "boat": None},
    "reference_per_class": {"background": 0.98, "car": 0.9, "boat": None},
    "images": 300,
    "test_set": "data/storybook/test",
    "not_measured": [],
}
NOTHING: Row = {
    "miou": None,
    "reference_miou": None,
    "ratio": None,
    "per_class": {},
    "reference_per_class": {},
    "images": 0,
    "test_set": "none",
    "not_measured": ["Nothing was measured on real images."],
}


def test_the_headline_says_what_was_measured() -> None:
    training, reference = {"images": 1100}, {"images": 1200}
    assert headline(EVALUATION, training, reference, None) == (
        "A segmentation network trained on 1,100 synthetic images, with no real picture and no "
        "annotation, reaches 0.700 mIoU on 300 labelled test images: 78 % of what the same network "
        "reaches when it is trained on 1,200 real labelled images."
    )
    alone = headline(EVALUATION | {"ratio": None}, training, {}, None)
    assert alone.endswith("There is no real-trained network to compare it with.")
    given = {"scale": 1.0, "training": None, "record": {}}
    assert headline(NOTHING, training, {}, given) == (
        "A segmentation network was trained on 1,100 synthetic images, with no annotation and no "
        "real picture but those behind a given adapter. How well it does on real images was not "
        "measured."
    )


def test_result_rows_take_either_side() -> None:
    colours = {"background": "#999999", "car": "#ff0000", "boat": "#00ff00"}
    evaluation = EVALUATION | {"reference_per_class": {}}
    assert result_rows(evaluation, colours)[1] == {
        "name": "car",
        "colour": "#ff0000",
        "synthetic": 0.6,
        "reference": None,
    }
    assert result_rows(NOTHING, colours) == []


def test_the_funnel_counts_every_step_and_names_thresholds(make_params: Make) -> None:
    summary = {
        "samples": 90,
        "kept": 60,
        "rejected": 30,
        "reasons": {"min_area": 10, "max_area": 20},
        "train": 55,
        "val": 5,
    }
    steps, reasons = funnel(100, summary, make_params().filter_masks)
    assert [(step["count"], step["share"]) for step in steps] == [
        (100, 1.0),
        (90, 0.9),
        (60, 0.6),
        (55, 0.55),
    ]
    assert [(one["rule"], one["count"], one["bound"]) for one in reasons] == [
        ("max_area", 20, "0.8"),
        ("min_area", 10, "0.04"),
    ]


def test_a_sample_of_two_classes_counts_for_both() -> None:
    rows = [row(0, "car", True, "boat"), row(1, "car", False)]
    names = ["car", "boat", "tree"]
    counted = kept_per_class(rows, names, dict.fromkeys(["background", *names], ""))
    assert [(one["name"], one["kept"], one["asked"]) for one in counted] == [
        ("car", 1, 2),
        ("boat", 1, 1),
        ("tree", 0, 0),
    ]


class Page(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


HOSTILE = "a <script>alert(\"1\")</script> car & 'boat'"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A finished run of two classes: two kept samples and a rejected one."""
    rng = np.random.default_rng(0)
    texts = ["a car", HOSTILE, "a boat"]
    names = [["car"], ["car", "boat"], ["boat"]]
    prompts, dataset = [], []
    for number, (text, classes) in enumerate(zip(texts, names, strict=True)):
        prompts.append(
            {
                "prompt_id": f"p{number}",
                "seed": number,
                "text": text,
                "negative_prompt": "",
                "source": "templates",
                "template": "a {}",
                "caption_id": "",
                "classes": [
                    {
                        "name": name,
                        "phrase": name,
                        "start": text.index(name),
                        "end": text.index(name) + len(name),
                        "relation": "plain",
                        "depth": 0,
                        "synset": "",
                    }
                    for name in classes
                ],
            }
        )
        maps = rng.random((len(classes), 16, 16)).astype(np.float16)
        cross = {("middle", (16, 16)): maps, ("middle", (8, 8)): maps[:, ::2, ::2]}
        attention = Captured(cross | {("0", (16, 16)): 1 - maps}).encode()
        label = rng.integers(0, 3, (16, 16)).astype(np.uint8)
        files = [
            ("x.png", encode_image(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8))),
            ("x.attention.safetensors", attention),
            ("x.label.png", encode_label(label)),
            ("x.reliability.png", encode_grey(label * 100)),
        ]
        members = write_shard(tmp_path / f"data/samples/shards/{number}.tar", files)
        uris = [member.uri.replace(f"shard://{tmp_path}/", "shard://", 1) for member in members]
        kept = number < 2
        scores = [{"name": name, "area": 0.2, "peak": 0.3, "margin": 0.4} for name in classes]
        dataset.append(
            {
                "sample_id": f"sample-{number}",
                "prompt_id": f"p{number}",
                "text": text,
                "classes": scores,
                "kept": kept,
                "reason": "" if kept else "boat: area 0.020 below min_area 0.04",
                "split": ("train", "val", "")[number],
                **dict(zip(("image", "attention", "label", "reliability"), uris, strict=True)),
            }
        )
    records.write_table(tmp_path / "data/prompts.parquet", prompts, records.PROMPTS)
    records.write_table(tmp_path / "data/dataset/index.parquet", dataset, records.DATASET)
    records.write_json(tmp_path / "data/inputs/model.json", {"digest": "0123456789abcdef" * 4})
    records.write_json(tmp_path / "models/lora/adapter.json", {"source": "none", "digest": None})
    curve = {"curve": [[10, 2.0], [20, 1.0]], "val": [[20, 0.5]]}
    counts = {
        "prompts": 1234,
        "distinct_texts": 1001,
        "distinct_words": 7,
        "repeats": 233,
        "withdrawn": 3,
        "relations": {"hyponym": 34, "plain": 1200},
        "depths": {"0": 1200, "1": 20, "3": 14},
    }
    metrics = {
        "prompts": counts | {"per_class": {"<car>": counts}},
        "filter": {
            "samples": 3,
            "kept": 2,
            "rejected": 1,
            "reasons": {"min_area": 1},
            "train": 1,
            "val": 1,
        },
        "training": {"iterations": 20, "images": 1, **curve},
        "reference_training": {"trained": True, "iterations": 20, "images": 9, **curve},
        "evaluation": EVALUATION,
    }
    for name, value in metrics.items():
        records.write_json(tmp_path / f"metrics/{name}.json", value)
    for what in ("truth", "prediction", "reference"):
        path = tmp_path / f"data/evaluation/0000.{what}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_label(np.eye(16, dtype=np.uint8)))
    image = encode_image(np.zeros((16, 16, 3), np.uint8))
    (tmp_path / "data/evaluation/0000.image.png").write_bytes(image)
    return tmp_path


@pytest.fixture
def params(make_params: Make) -> Params:
    return make_params({"expand_prompts.classes": ["car", "boat"]})


def written(params: Params, root: Path) -> str:
    run(params, root)
    return (root / "report/index.html").read_text()


def test_the_page_stands_alone(params: Params, root: Path) -> None:
    text = written(params, root)
    page = Page(text)
    assert list((root / "report").iterdir()) == [root / "report/index.html"]
    sources = [image["src"] or "" for image in page.all("img")]
    assert sources and all(source.startswith("data:image/") for source in sources)
    assert not page.all("link") and [tag for tag in page.all("script") if "src" in tag] == []
    assert all((link["href"] or "").startswith("#") for link in page.all("a"))
    assert "url(" not in text and "@import" not in text
    targets = {attributes.get("id") for _, attributes in page.tags}
    assert {(link["href"] or "")[1:] for link in page.all("a")} <= targets


def test_the_page_shows_result_funnel_and_samples(params: Params, root: Path) -> None:
    words = re.sub(r"\s+", " ", Page(written(params, root)).words)
    for expected in (
        "0.700 mIoU, trained on synthetic images only",
        "0.900 mIoU of the reference",
        "78 % of the reference",
        "covers too little of the image",
        "min_area 0.04",
        "boat: area 0.020 below min_area 0.04",
        "kept for training",
        "kept for watching the training",
        "sample-0 ",
        "0123456789abcdef…",
        "synthetic only 100.0 %",
        "images_per_class: 150",
        "1,234 prompts with 1,001 distinct texts and 7 distinct words for classes",
        "<car> 1,234 1,200 0 34 1: 20, 3: 14 7 1,001 233 3",
    ):
        assert expected in words


def test_every_picture_has_a_text_and_every_control_a_name(params: Params, root: Path) -> None:
    page = Page(written(params, root))
    assert all("alt" in image for image in page.all("img"))
    assert all(drawing.get("aria-label") for drawing in page.all("svg"))
    assert all(select.get("aria-label") for select in page.all("select"))


def test_what_users_write_is_escaped(params: Params, root: Path) -> None:
    text = written(params, root)
    assert "<script>alert" not in text
    page = Page(text)
    assert len(page.all("script")) == 1
    assert "alert(" in page.words
    assert f"Synthetic image: {HOSTILE}" in [image["alt"] for image in page.all("img")]
    cards = [
        card for card in page.all("li") if card.get("class") == "card" and "data-names" in card
    ]
    assert sorted(card["data-names"] or "" for card in cards) == [
        '["boat"]',
        '["car", "boat"]',
        '["car"]',
    ]


def test_class_names_are_escaped_too(make_params: Make, root: Path) -> None:
    odd = '"><script>x</script>'
    classes = ["car", "boat", {"name": odd, "phrases": ["thing"]}]
    text = written(make_params({"expand_prompts.classes": classes}), root)
    assert "<script>x" not in text
    assert len(Page(text).all("script")) == 1


def write_adaptation(root: Path, best: int) -> None:
    """What a training of 20 steps leaves, with the same hostile caption everywhere."""
    held_out = [[0, 0.4], [10, 0.5], [20, 0.6]] if best == 0 else [[0, 0.4], [10, 0.3], [20, 0.35]]
    training = {
        "steps": 20,
        "best_step": best,
        "stopped_early": True,
        "images": 7,
        "held_out_images": 1,
        "seconds": 200.0,
        "parameters": 1234,
        "curve": [[10, 0.4], [20, 0.3]],
        "held_out": held_out,
        "sheets": [HOSTILE],
    }
    record = {
        "source": "trained",
        "digest": "fedcba9876543210" * 4,
        "rank": 4,
        "alpha": 2.0,
        "layers": ["self", "cross"],
        "targets": ["to_q", "to_k"],
        "images": [],
    }
    frame = encode_image(np.full((8, 8, 3), 200, np.uint8))
    path = root / "frames/one.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(frame)
    entry = {"name": "one.png", "digest": hashlib.sha256(frame).hexdigest(), "caption": HOSTILE}
    record["images"] = [entry, *[{**entry, "name": f"gone{number}.png"} for number in range(7)]]
    measured = {"held_out_loss_before": 0.4, "held_out_loss_after": 0.3, "fall": 0.25}
    records.write_json(root / "metrics/adaptation.json", measured)
    records.write_json(root / "models/lora/adapter.json", record)
    records.write_json(root / "models/lora/training.json", training)
    for step, _ in held_out:
        sheet = root / f"models/lora/sheets/sheet-{step:05d}.png"
        sheet.parent.mkdir(exist_ok=True)
        sheet.write_bytes(encode_image(np.full((16, 64, 3), step, np.uint8)))


@pytest.fixture
def adapted(make_params: Make) -> Params:
    return make_params(
        {
            "expand_prompts.classes": ["car", "boat"],
            "adapt_lora.adapter": "train",
            "adapt_lora.images": "frames",
            "sample_images.height": 16,
            "sample_images.width": 16,
        }
    )


def test_an_adaptation_is_shown_before_and_after(adapted: Params, root: Path) -> None:
    write_adaptation(root, best=10)
    text = written(adapted, root)
    page = Page(text)
    words = re.sub(r"\s+", " ", page.words)
    for expected in (
        "no annotation and no real picture but 8 unlabelled ones to adapt to, reaches 0.700",
        "25.0 % less denoising loss on held-out images: 0.4000 before, 0.3000 after",
        "7 images trained on, 1 held out",
        "20 steps; kept: the adapter of step 10; stopped early",
        "Before: the base model held-out loss 0.4000",
        "After 10 steps, kept held-out loss 0.3000",
        "After 20 steps held-out loss 0.3500",
        "The domain 1 of its images",
        "4, 2; 1,234 parameters",
        "3.3 minutes, losses and sheets included",
        "fedcba9876543210…",
    ):
        assert expected in words
    radios = [tag for tag in page.all("input") if tag["type"] == "radio"]
    assert [(tag["id"], "checked" in tag) for tag in radios] == [
        ("sheet-10", True),
        ("sheet-20", False),
    ]
    assert [label["for"] for label in page.all("label")] == ["sheet-10", "sheet-20"]
    alts = [image["alt"] for image in page.all("img")]
    assert alts.count(f"Base model: {HOSTILE}") == 4
    assert alts.count(f"After 20 steps: {HOSTILE}") == 4
    assert alts.count(f"Image of the domain: {HOSTILE}") == 1
    assert "<script>alert" not in text and len(page.all("script")) == 1
    losses = [drawing["aria-label"] or "" for drawing in page.all("svg")]
    assert [label for label in losses if label.startswith("Denoising")] == [
        "Denoising loss over 20 iterations: training from 0.40 to 0.30; held-out from 0.40 to 0.35."
    ]


def test_an_adaptation_that_did_not_help_says_so(adapted: Params, root: Path) -> None:
    write_adaptation(root, best=0)
    page = Page(written(adapted, root))
    assert "No step had a lower held-out loss than the base model" in page.words
    checked = [tag["id"] for tag in page.all("input") if "checked" in tag]
    assert checked == ["sheet-20"]


def test_a_given_adapter_is_named(make_params: Make, root: Path) -> None:
    record = {"source": "<i>mine</i>.safetensors", "digest": "fedcba9876543210" * 4, "base": "b"}
    records.write_json(root / "models/lora/adapter.json", record)
    changes = {"expand_prompts.classes": ["car", "boat"], "adapt_lora.scale": 0.0}
    text = written(make_params(changes), root)
    words = re.sub(r"\s+", " ", Page(text).words)
    assert "a given LoRA adapter, <i>mine</i>.safetensors. It was not trained here" in words
    assert "adapt_lora.scale is 0: this run's samples are made as if there were no adapter" in words
    assert "with no real picture and no annotation" in words
    assert "<i>mine" not in text and "Denoising loss" not in words


def test_without_an_adapter_there_is_no_such_section(params: Params, root: Path) -> None:
    page = Page(written(params, root))
    assert "adaptation" not in {attributes.get("id") for _, attributes in page.tags}
    assert "#adaptation" not in {link["href"] for link in page.all("a")}


def test_without_background_nothing_is_called_so(make_params: Make, root: Path) -> None:
    evaluation = EVALUATION | {
        key: {name: iou for name, iou in EVALUATION[key].items() if name != "background"}
        for key in ("per_class", "reference_per_class")
    }
    records.write_json(root / "metrics/evaluation.json", evaluation)
    changes = {"expand_prompts.classes": ["car", "boat"], "expand_prompts.background": "none"}
    text = written(make_params(changes), root)
    words = Page(text.partition("</style>")[2].partition("All parameters")[0]).words
    assert "background" not in words and "no label = 1 - max A - 0.1" in words
    assert "Grey labels are none" in words
    red, blue = (f"--c:#{colour}" for colour in ("e5484d", "3e7bf0"))  # of the first two classes
    assert f'{red}" aria-hidden="true"></span>car' in text
    assert f'{blue}" aria-hidden="true"></span>boat' in text


def test_what_is_missing_is_said(make_params: Make, root: Path) -> None:
    for path in (root / "data/evaluation").iterdir():
        path.unlink()
    records.write_json(root / "metrics/evaluation.json", NOTHING)
    off = {"trained": False, "why": "train_reference.labelled_set is none"}
    records.write_json(root / "metrics/reference_training.json", off)
    training = {"iterations": 20, "images": 1, "curve": [[20, 1.0]], "val": []}
    records.write_json(root / "metrics/training.json", training)
    changes = {"expand_prompts.classes": ["car", "boat"], "write_report.gallery": 0}
    words = re.sub(r"\s+", " ", Page(written(make_params(changes), root)).words)
    assert words.count("not measured") >= 3
    for expected in (
        "Nothing was measured on real images.",
        "No reference was trained: train_reference.labelled_set is none.",
        "Nothing was held out to watch the training.",
        "No sample is shown: write_report.gallery is 0.",
    ):
        assert expected in words
    assert "Test images" not in words


def test_small_images_keep_their_pixels_sharp(params: Params, root: Path) -> None:
    assert "image-rendering: pixelated" in written(params, root)
    assert 'class="sharp"' in written(params, root)


def test_the_same_run_gives_the_same_bytes(params: Params, root: Path) -> None:
    assert written(params, root) == written(params, root)


def test_the_recipe_is_told_in_words(make_params: Callable[..., Params]) -> None:
    params = make_params()
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


@pytest.mark.parametrize(("least", "warned"), [(0, 0), (2, 1), (9, 2)])
def test_classes_with_too_few_kept_samples_are_marked(
    params: Params, root: Path, least: int, warned: int
) -> None:
    """Two of the car are kept, one of the boat."""
    section = params.filter_masks.model_copy(update={"min_per_class": least})
    text = written(params.model_copy(update={"filter_masks": section}), root)
    assert text.count("too few") == warned
