"""Similarity of images and texts, with CLIP and SigLIP models of toy size."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.image_text import ImageText, find_image_text, image_text_files
from tasks.params import InputError

IMAGES = [np.full((48, 48, 3), 30, np.uint8), np.zeros((40, 64, 3), np.uint8)]
IMAGES[1][:, 32:] = (250, 120, 0)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_cosines_are_those_of_the_model(image_text_folders: dict[str, Path], kind: str) -> None:
    """What the model itself says, without its learnt scale and bias."""
    folder = image_text_folders[kind]
    model = ImageText(find_image_text(str(folder)))
    texts = ["a dog", "a car on a road"]
    seen, said = model.images(IMAGES), model.texts(texts)
    assert seen.dtype == said.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(seen, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(said, axis=1), 1, atol=1e-5)
    inputs = model.tokenizer(texts, padding="max_length", max_length=20, return_tensors="pt")
    pixels = model.processor(images=IMAGES, return_tensors="pt")
    with torch.no_grad():
        logits = model.network(**inputs, **pixels).logits_per_image
        logits = logits - getattr(model.network, "logit_bias", 0)
        expected = logits / model.network.logit_scale.exp()
    np.testing.assert_allclose(seen @ said.T, expected.numpy(), atol=1e-4)
    assert len(np.unique((seen @ said.T).round(4))) == 4


def test_a_text_does_not_depend_on_its_batch(image_text_folders: dict[str, Path]) -> None:
    model = ImageText(image_text_folders["clip"])
    together = model.texts(["a dog", "a car that stands on a road"])
    np.testing.assert_allclose(together[0], model.texts(["a dog"])[0], atol=1e-6)


def test_a_long_text_is_cut(image_text_folders: dict[str, Path]) -> None:
    model = ImageText(image_text_folders["clip"])
    assert model.texts(["dog " * 100]).shape == (1, 8)


def test_the_model_is_found_below_the_root(image_text_folders: dict[str, Path]) -> None:
    folder = image_text_folders["clip"]
    assert find_image_text("clip", folder.parent) == folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody/no-such-model", r"neither a folder nor a model.*hf download nobody/no-such-model"),
        ("no such folder", r"neither a folder nor a model"),
    ],
)
def test_a_missing_model_is_named_with_the_remedy(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"score_masks\.similarity\.model: {name}.*"):
        find_image_text(name, tmp_path)
    with pytest.raises(InputError, match=message):
        find_image_text(name, tmp_path)


def damage(folder: Path, what: str) -> None:
    config, weights = folder / "config.json", folder / "model.safetensors"
    if what == "no config":
        config.unlink()
    elif what == "other family":
        config.write_text(json.dumps({"model_type": "bert"}))
    elif what == "no weights":
        weights.unlink()
    elif what == "cut short":
        weights.write_bytes(weights.read_bytes()[:-8])


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no config", r"no readable config\.json"),
        ("other family", r"holds a bert model; known are clip, siglip"),
        ("no weights", r"no model\.safetensors \(pickles are not loaded\)"),
        ("cut short", r"model\.safetensors is cut short"),
    ],
)
def test_a_damaged_model_is_refused_before_it_is_loaded(
    tmp_path: Path, image_text_folders: dict[str, Path], what: str, message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(image_text_folders["clip"], folder)
    damage(folder, what)
    with pytest.raises(InputError, match=message):
        find_image_text("model", tmp_path)


def test_what_makes_the_model_is_weights_configurations_and_tokenizer(
    image_text_folders: dict[str, Path],
) -> None:
    folder = image_text_folders["clip"]
    names = {path.name for path in image_text_files(folder)}
    assert {"config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"} == (
        names - {"tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt"}
    )


def test_finding_a_model_leaves_torch_alone() -> None:
    code = "import sys, tasks.image_text; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
