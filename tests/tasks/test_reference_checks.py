"""What adapt_lora works from is checked before anything is computed, by preflight."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tasks import preflight, reference_checks
from tasks.base_models import read_model
from tasks.params import InputError, Params
from tasks.reference_checks import find_reference

Make = Callable[..., Params]

PICTURE = {"name": "picture", "phrases": ["oak", "picture"], "synonyms": [], "hyponyms": []}


@pytest.fixture
def root(tmp_path: Path, toy_folders: dict[str, Path], training_root: Path) -> Path:
    """A repository root with a model, six images, and a test set."""
    shutil.copytree(toy_folders["1.x"], tmp_path / "model")
    for folder, count in (("own", 6), ("test/images", 3), ("test/labels", 3)):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (8, 8)).save(tmp_path / f"{folder}/{number}.png")
    config = tmp_path / "mmseg_configs/storybook/tiny.py"
    config.parent.mkdir(parents=True)
    shutil.copyfile(training_root / "tiny.py", config)
    return tmp_path


@pytest.fixture
def make(make_params: Make) -> Make:
    def with_changes(sections: dict[str, Any] | None = None, **changes: Any) -> Params:
        values = {
            "adapter": "train",
            "images": "own",
            "batch_size": 4,
            "template": "a picture",
            "device": "cpu",
        } | changes
        test_set = values.pop("test_set", "test")
        fitting = {
            "render_storybook.domain": "page",
            "sample_images.model": "model",
            "sample_images.capture.resolutions": None,
            "extract_masks.attn2mask.resolutions": None,
            "train_segmenter.config": "mmseg_configs/storybook/tiny.py",
            "train_reference.labelled_set": "none",
            "evaluate_segmenter.test_set": test_set,
            "expand_prompts.classes": [PICTURE],
            "expand_prompts.templates": ["a {}"],
            "expand_prompts.images_per_class": 2,
            "expand_prompts.several_share": 0.0,
        }
        mine = {f"adapt_lora.{key}": value for key, value in values.items()}
        return make_params(fitting | mine | (sections or {}))

    return with_changes


def message(params: Params, root: Path) -> str:
    with pytest.raises(InputError) as caught:
        preflight.run(params, root)
    assert not (root / "metrics/preflight.json").exists()
    return str(caught.value)


def record(params: Params, root: Path) -> dict[str, Any]:
    preflight.run(params, root)
    found: dict[str, Any] = json.loads((root / "data/inputs/reference.json").read_text())
    return found


def test_the_record_of_nothing(make: Make, root: Path) -> None:
    assert record(make(adapter="none", images="nowhere"), root) == {"source": "none"}


def test_the_record_follows_images_and_captions(make: Make, root: Path) -> None:
    first = record(make(), root)
    assert (first["source"], first["images"], first["words"]) == ("outside", 6, {})
    assert len(first["digest"]) == 64
    assert record(make(learning_rate=0.5), root) == first
    assert record(make(template="an oak"), root)["captions"] != first["captions"]
    assert record(make(max_images=5), root)["images"] == 5
    Image.new("L", (9, 9)).save(root / "own/3.png")
    assert record(make(), root)["digest"] != first["digest"]


def test_the_record_has_the_words_where_captions_or_prior_prompts_say_them(
    make: Make, root: Path
) -> None:
    (root / "c.json").write_text(json.dumps({f"{n}.png": ["picture"] for n in range(6)}))
    words = {"picture": "oak"}
    assert record(make(captions="c.json", template="a {}"), root)["words"] == words
    assert record(make(prior_share=0.5), root)["words"] == words


def test_the_record_of_images_that_the_graph_makes(make: Make, root: Path) -> None:
    expected = {"source": "graph", "captions": "none", "words": {}, "places": {}}
    images = {"images": "data/storybook/train/images"}
    assert record(make(**images), root) == expected
    assert record(make(images="data/storybook/val/images/0*.png"), root) == expected
    made = "data/storybook/train/captions.json"
    assert record(make(captions=made, **images), root)["captions"] == made
    (root / "c.json").write_text("{}")
    assert len(record(make(captions="c.json", **images), root)["captions"]) == 64
    (root / "data/storybook/train").mkdir(parents=True)
    (root / made).write_text("{}")  # as after a run: the record is what it was before
    assert record(make(captions=made, **images), root)["captions"] == made


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no such folder": ({"images": "nowhere"}, "adapt_lora.images: {root}/nowhere does not exist"),
    "an empty folder": ({"images": "empty"}, "adapt_lora.images: empty holds no image (.png"),
    "a glob of nothing": ({"images": "own/*.bmp"}, "adapt_lora.images: own/*.bmp holds no image"),
    "fewer images than a batch": (
        {"batch_size": 6},
        "adapt_lora.images: own gives 6 images, of which val_share holds 1 out: fewer than the 6 "
        "of a batch; add images, or lower adapt_lora.batch_size",
    ),
    "images of the test set": (
        {"images": "test/images", "batch_size": 2},
        "adapt_lora.images: test/images has images of evaluate_segmenter.test_set; the samples",
    ),
    "a glob in the test set": (
        {"images": "./own/../test/images/*.png", "batch_size": 2},
        "adapt_lora.images: ./own/../test/images/*.png has images of evaluate_segmenter.test_set",
    ),
    "a tree with the test set in it": (
        {"images": "."},
        "adapt_lora.images: . has images of evaluate_segmenter.test_set",
    ),
    "storybook's test set": (
        {"images": "data/storybook/test/images", "test_set": "data/storybook/test"},
        "adapt_lora.images: data/storybook/test/images has images of evaluate_segmenter.test_set",
    ),
    "images that storybook does not make": (
        {"images": "data/storybook/trian/images"},
        "adapt_lora.images: data/storybook/trian/images is nothing that render_storybook makes; it "
        "makes data/storybook/train/images, data/storybook/val/images",
    ),
    "images without sidecars": (
        {"captions": "sidecar"},
        "adapt_lora.captions: 6 of 6 images have no caption: 0.png, 1.png",
    ),
    "captions of nothing": (
        {"captions": "lists.json", "template": "a {}"},
        "adapt_lora.captions: {root}/lists.json: 1 captions have no image in {root}/own: lost.png",
    ),
    "unknown classes": (
        {"captions": "lists.json", "template": "a {}"},
        "lists classes that are not in expand_prompts.classes: 'cat' (0.png); there are picture",
    ),
    "a caption that is cut off": (
        {"template": "a picture " * 40},
        'adapt_lora.captions: the text encoder reads 77 tokens, start and end included; shorten "a',
    ),
    "a template of graph images that is cut off": (
        {"template": "a picture " * 40, "images": "data/storybook/train/images"},
        "adapt_lora.captions: the text encoder reads 77 tokens",
    ),
    "a prior prompt that is cut off": (
        {"prior_share": 0.5, "prior_template": "a {}" + " an oak" * 40},
        "adapt_lora.prior_template: the text encoder reads 77 tokens",
    ),
    "an adapter that is not there": (
        {"adapter": "lora"},
        "adapt_lora.adapter: {root}/lora does not exist; give none, train, or a file or folder",
    ),
    "a device that is none": (
        {"device": "gpu"},
        "adapt_lora.device: must be auto, cpu, cuda or cuda:N, not 'gpu'",
    ),
}


@pytest.mark.parametrize(("changes", "expected"), BAD.values(), ids=list(BAD))
def test_bad_input_is_named(make: Make, root: Path, changes: dict[str, Any], expected: str) -> None:
    (root / "empty").mkdir()
    lists = {f"{n}.png": ["cat" if n == 0 else "picture"] for n in range(6)} | {"lost.png": []}
    (root / "lists.json").write_text(json.dumps(lists))
    assert expected.format(root=root) in message(make(**changes), root)


def test_storybook_turned_off_makes_no_images(make: Make, root: Path) -> None:
    params = make({"render_storybook.domain": "none"}, images="data/storybook/train/images")
    expected = "adapt_lora.images: data/storybook/train/images are made by render_storybook, whose"
    assert expected in message(params, root)


def test_images_that_cannot_be_read_are_listed_together(make: Make, root: Path) -> None:
    (root / "own/1.png").write_text("no image")
    (root / "own/4.png").write_bytes((root / "own/0.png").read_bytes()[:40])
    text = message(make(), root)
    assert text.startswith(
        "adapt_lora.images: 2 of 6 images cannot be read; replace or remove: "
        f"{root}/own/1.png (cannot identify image file), {root}/own/4.png ("
    )
    preflight.run(make(max_images=5, images="own/[!14].png", batch_size=3), root)


def test_an_adapter_for_another_architecture_or_base_is_refused(make: Make, root: Path) -> None:
    layer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    (root / "lora").mkdir()
    file = root / "lora/pytorch_lora_weights.safetensors"

    def write(inputs: int) -> None:
        down, up = np.zeros((4, inputs), np.float32), np.zeros((8, 4), np.float32)
        save_file({f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}, file)

    write(768)
    expected = (
        f"adapt_lora.adapter: {file} is for another architecture than {root}/model: "
        f"{layer}.lora_A.weight (768 inputs, not 32)"
    )
    assert expected in message(make(adapter="lora", images="none"), root)
    write(32)
    (root / "lora/adapter.json").write_text(json.dumps({"base": "c" * 64}))
    expected = f"adapt_lora.adapter: {file} was made for another base model: "
    assert message(make(adapter="lora", images="none"), root).startswith(expected)
    (root / "lora/adapter.json").unlink()
    shutil.copytree(root / "lora", root / "models/lora")
    expected = "adapt_lora.adapter: models/lora is what the stage itself writes, and is deleted"
    assert message(make(adapter="models/lora", images="none"), root).startswith(expected)
    found = record(make(adapter="lora", images="none"), root)
    assert found["source"] == "adapter" and len(found["digest"]) == 64


def test_problems_of_the_model_hide_none_of_the_images(make: Make, root: Path) -> None:
    params = make({"sample_images.model": "nowhere"}, images="elsewhere")
    text = message(params, root)
    assert "sample_images.model: nowhere is neither" in text
    assert f"adapt_lora.images: {root}/elsewhere does not exist" in text


def test_images_are_found_without_prompts(make: Make, root: Path) -> None:
    """Where the lexicon has failed, classes go by their names."""
    reference = find_reference(make(), None, read_model(root / "model"), root)
    assert reference.words == {"picture": "picture"} and len(reference.images) == 6


def test_latents_that_fill_the_memory_are_warned_of(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Six images of 64x64 pixels, at two windows and their mirrored ones: 24 times 4 x 8 x 8."""
    params = make(crops_per_image=2, flip=True)
    caplog.set_level(logging.INFO)
    for memory, level in ((50_000, "INFO"), (49_000, "WARNING")):
        caplog.clear()
        told = type("Memory", (), {"total": memory})
        monkeypatch.setattr(reference_checks.psutil, "virtual_memory", lambda told=told: told)
        preflight.run(params, root)
        (found,) = (one for one in caplog.records if "as latents" in one.message)
        assert found.levelname == level and "6 images take about 2.5e-05 GB" in found.message
    assert "lower adapt_lora.max_images or crops_per_image" in found.message
