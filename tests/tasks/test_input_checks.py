"""Each input that does not fit is named by its key, with the rule and the remedy."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storybook.vocabulary import STREET_CLASSES
from tasks.input_checks import find_set, mask_problems
from tasks.label_maps import encode_label
from tasks.labelled_sets import check_pairs
from tasks.params import InputError, Params
from tasks.preflight import run
from tests.toys.inputs import PAGE_NAMES, message, outputs

Make = Callable[..., Params]

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a class without a phrase": (
        {"expand_prompts.classes": ["car", "zeppelin"]},
        "expand_prompts.classes: class 'zeppelin' has no phrase",
    ),
    "words that the text encoder does not know": (
        {"expand_prompts.classes": [{"name": name} for name in PAGE_NAMES]},
        "expand_prompts.classes: class 'flower' has words that the text encoder of "
        "sample_images.model does not know: 'bloom' (synonym), 'blossom' (synonym), 'daisy' "
        "(hyponym), 'poppy' (hyponym), 'sunflower' (hyponym); put them under "
        "expand_prompts.stop_words",
    ),
    "captions that are no text": (
        {"expand_prompts.captions": "own/images/a.png"},
        "expand_prompts.captions: {root}/own/images/a.png: is not text",
    ),
    "a lexicon that is not there": (
        {"expand_prompts.lexicon": "wordnet:nowhere.xml"},
        "expand_prompts.lexicon: {root}/nowhere.xml: no such file",
    ),
    "a model that is not there": (
        {"sample_images.model": "/no/such/model"},
        "sample_images.model: /no/such/model is neither a folder nor a model in the hub's cache",
    ),
    "a height off the step": (
        {"sample_images.height": 60},
        "sample_images.height: must be a multiple of 8 for this model, not 60",
    ),
    "maps of no layer": (
        {"sample_images.capture.resolutions": [24, 16, 12, 8]},
        "sample_images.capture.resolutions: at 64x64 this model's attention has the sides "
        "16, 8, 4, not 24, 12",
    ),
    "maps of no layer that a method asks for": (
        {
            "sample_images.capture.resolutions": None,
            "extract_masks.attn2mask.resolutions": [16, 12],
        },
        "extract_masks.attn2mask.resolutions: at 64x64 this model's attention has the sides "
        "16, 8, 4, not 12",
    ),
    "self-attention of no layer": (
        {"sample_images.capture.self_attention": {"resolution": 32, "step": "middle"}},
        "sample_images.capture.self_attention.resolution: at 64x64 this model's attention has the "
        "sides 16, 8, 4, not 32",
    ),
    "a test set that is not there": (
        {"evaluate_segmenter.test_set": "nowhere"},
        "evaluate_segmenter.test_set: {root}/nowhere: no such folder",
    ),
    "a labelled set that is not there": (
        {"train_reference.labelled_set": "nowhere"},
        "train_reference.labelled_set: {root}/nowhere: no such folder",
    ),
    "a set that storybook does not make": (
        {"evaluate_segmenter.test_set": "data/storybook/tset"},
        "evaluate_segmenter.test_set: data/storybook/tset is no set that render_storybook makes; "
        "it makes data/storybook/train, data/storybook/val, data/storybook/test",
    ),
    "storybook turned off": (
        {"render_storybook.domain": "none"},
        "evaluate_segmenter.test_set: data/storybook/test is made by render_storybook, whose "
        "domain is none",
    ),
    "classes in another order": (
        {"expand_prompts.classes": ["boat", "car"]},
        "evaluate_segmenter.test_set: data/storybook/test: label value 1 is 'car' in the set and "
        "'boat' in expand_prompts.classes",
    ),
    "a background in front of a street": (
        {"render_storybook.domain": "street"},
        "evaluate_segmenter.test_set: data/storybook/test: label value 0 is 'road' in the set and "
        "'background' in expand_prompts: the set is for background: none; the set's classes in "
        "order: road, sky, building, tree, car, grass; list these, or choose another set or none",
    ),
    "no background behind a page": (
        {"expand_prompts.background": "none"},
        "label value 0 is 'background' in the set and 'car' in expand_prompts: the set is for "
        "background: rest; the set's classes in order: car, boat,",
    ),
    "a class in every prompt that is none": (
        {"expand_prompts.always": ["sky"]},
        "expand_prompts.always: 'sky' is no class",
    ),
    "the test set as labelled set": (
        {"train_reference.labelled_set": "own", "evaluate_segmenter.test_set": "./own/"},
        "train_reference.labelled_set: is the test set too",
    ),
    "a prompt that is too long": (
        {"expand_prompts.templates": ["a {} under a xyzzy sky of zzzzzzzz"]},
        "prompts are too long: the text encoder reads 20 tokens, start and end included",
    ),
    "a negative prompt that is too long": (
        {"expand_prompts.negative_prompt": "blurry ugly distorted"},
        "expand_prompts.negative_prompt: the text encoder reads 20 tokens",
    ),
    "a config that is not there": (
        {"train_segmenter.config": "mmseg_configs/storybook/tny.py"},
        "train_segmenter.config: mmseg_configs/storybook/tny.py does not exist; there is "
        "mmseg_configs/storybook/tiny.py",
    ),
    "initial weights that are not there": (
        {"train_segmenter.init_from": "models/nowhere"},
        "train_segmenter.init_from: models/nowhere does not exist",
    ),
    "an unknown device": (
        {"sample_images.device": "gpu"},
        "sample_images.device: must be auto, cpu, cuda or cuda:N, not 'gpu'",
    ),
}
STREET = {
    "render_storybook.domain": "street",
    "expand_prompts.background": "none",
    "expand_prompts.classes": [
        {"name": name, "phrases": ["car"], "synonyms": [], "hyponyms": []}
        for name in STREET_CLASSES
    ],
}


def test_the_street_goes_with_its_classes_and_no_background(make: Make, root: Path) -> None:
    params = make(STREET)
    for key in ("train_reference.labelled_set", "evaluate_segmenter.test_set"):
        assert find_set(params, key, root) == []
    reversed_ = make(STREET | {"expand_prompts.classes": STREET["expand_prompts.classes"][::-1]})
    with pytest.raises(InputError) as caught:
        find_set(reversed_, "evaluate_segmenter.test_set", root)
    assert str(caught.value) == (
        "evaluate_segmenter.test_set: data/storybook/test: label value 0 is 'road' in the set and "
        "'grass' in expand_prompts.classes; the set's classes in order: road, sky, building, tree, "
        "car, grass; list these, or choose another set or none"
    )


def test_labels_of_a_scene_begin_at_0(make: Make, root: Path) -> None:
    """Six classes: 5 is the last one; with a background there would be a 6."""
    last = np.full((4, 4), 5, np.uint8)
    (root / "own/labels/a.png").write_bytes(encode_label(last))
    pairs = find_set(
        make({"evaluate_segmenter.test_set": "own"}), "evaluate_segmenter.test_set", root
    )
    scene, page = (
        make(STREET | {"expand_prompts.background": background}).expand_prompts.label_names
        for background in ("none", "rest")
    )
    assert check_pairs(pairs, len(scene)) == check_pairs(pairs, len(page)) == []
    (root / "own/labels/a.png").write_bytes(encode_label(last + 1))
    assert "label values must be 0..5 or 255" in check_pairs(pairs, len(scene))[0]
    assert check_pairs(pairs, len(page)) == []


@pytest.mark.parametrize(("changes", "expected"), BAD.values(), ids=list(BAD))
def test_bad_input_is_named_and_touches_no_output(
    make: Make, root: Path, changes: dict[str, Any], expected: str
) -> None:
    run(make(), root)
    before = outputs(root)
    assert expected.format(root=root) in message(make(changes), root)
    assert outputs(root) == before


def test_missing_labels_and_unreadable_images_are_told(make: Make, root: Path) -> None:
    params = make({"evaluate_segmenter.test_set": "own"})
    (root / "own/images/a.png").write_text("no image")
    assert "evaluate_segmenter.test_set: own: cannot be read; replace or remove: " in message(
        params, root
    )
    (root / "own/labels/b.png").unlink()
    text = message(params, root)
    assert "evaluate_segmenter.test_set: " in text and "have no label: b.png" in text


def test_the_dense_crf_is_asked_for_where_it_is_not_installed(
    make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the parameter that needs it, and not where nothing does."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert mask_problems(make_params()) == []
    (problem,) = mask_problems(make_params({"extract_masks.refine": "crf"}))
    assert problem.startswith(
        "extract_masks.refine: crf needs the dense CRF, which is not installe"
    )
    assert "run `make crf`" in problem
    changes = {"extract_masks.method": "diffumask", "sample_images.capture.steps": ["all"]}
    (problem,) = mask_problems(make_params(changes))
    assert problem.startswith("extract_masks.method: diffumask needs the dense CRF")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    assert mask_problems(make_params(changes)) == []


def test_the_guided_filter_needs_pixels(make_params: Callable[..., Params]) -> None:
    changes = {"extract_masks.guided.subsample": 3}
    (problem,) = mask_problems(make_params(changes))
    assert problem == (
        "extract_masks.guided.subsample: 3 leaves an image of 21 pixels to find edges on; at this "
        "size at most 2"
    )
    assert mask_problems(make_params(changes | {"extract_masks.refine": "none"})) == []
    larger = {"sample_images.height": 96, "sample_images.width": 128}
    assert mask_problems(make_params(changes | larger)) == []
