"""A repository whose inputs preflight passes, and what it says and writes of them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.label_maps import encode_image, encode_label
from tasks.params import InputError, Params
from tasks.preflight import run

OUTPUTS = {
    "metrics/preflight.json",
    "data/inputs/model.json",
    "data/inputs/labelled_set.json",
    "data/inputs/test_set.json",
    "data/inputs/texts.json",
    "data/inputs/reference.json",
    "data/inputs/init_from.json",
    "data/inputs/pretrained.json",
    "data/inputs/similarity.json",
}

PAGE_NAMES = ("car", "boat", "tree", "house", "bird", "fish", "dog", "flower")
"""The words of classes that the model folder's tokenizer knows."""

Make = Callable[..., Params]


@pytest.fixture
def root(tmp_path: Path, model_folder: Path, training_root: Path) -> Path:
    """A repository root that holds a model, a config and a labelled set from outside the graph."""
    config = tmp_path / "mmseg_configs/storybook/tiny.py"
    config.parent.mkdir(parents=True)
    shutil.copyfile(training_root / "tiny.py", config)
    image = np.zeros((4, 4, 3), np.uint8)
    for part in ("images", "labels"):
        (tmp_path / "own" / part).mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / "own/images" / f"{name}.png").write_bytes(encode_image(image))
        (tmp_path / "own/labels" / f"{name}.png").write_bytes(encode_label(image[..., 0]))
    return tmp_path


@pytest.fixture
def make(make_params: Make) -> Make:
    """Parameters that pass in ``root``, with some dotted keys changed."""

    def with_changes(changes: dict[str, Any] | None = None) -> Params:
        fitting = {
            "sample_images.model": "model",
            "train_segmenter.config": "mmseg_configs/storybook/tiny.py",
            "expand_prompts.images_per_class": 5,
            "expand_prompts.templates": ["a {}"],
            "expand_prompts.several_share": 0.0,
            "expand_prompts.classes": [
                {"name": name, "synonyms": [], "hyponyms": []} for name in PAGE_NAMES
            ],
        }
        return make_params(fitting | (changes or {}))

    return with_changes


def outputs(root: Path) -> dict[str, bytes]:
    """What preflight wrote."""
    found = [path for name in ("metrics", "data") for path in (root / name).rglob("*")]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in found if p.is_file()}


def message(params: Params, root: Path) -> str:
    """What preflight refuses with."""
    with pytest.raises(InputError) as caught:
        run(params, root)
    return str(caught.value)
