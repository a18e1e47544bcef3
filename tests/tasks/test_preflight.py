"""Bad input stops before anything is computed, with one clear message, and touches no output."""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from storybook.vocabulary import STREET_CLASSES
from tasks import input_checks, preflight
from tasks.base_models import read_model
from tasks.digests import DigestCache, file_digests
from tasks.input_checks import find_set, mask_problems
from tasks.label_maps import encode_image, encode_label
from tasks.labelled_sets import check_pairs
from tasks.model_checks import read_tokenizers
from tasks.params import InputError, Params
from tasks.preflight import run
from tasks.prompt_checks import prompt_problems
from tasks.prompt_sources import Plan, prepare

ROOT = Path(__file__).parents[2]
OUTPUTS = {
    "metrics/preflight.json",
    "data/inputs/model.json",
    "data/inputs/labelled_set.json",
    "data/inputs/test_set.json",
    "data/inputs/texts.json",
    "data/inputs/reference.json",
    "data/inputs/init_from.json",
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
    found = [path for name in ("metrics", "data") for path in (root / name).rglob("*")]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in found if p.is_file()}


def message(params: Params, root: Path) -> str:
    with pytest.raises(InputError) as caught:
        run(params, root)
    return str(caught.value)


def test_outputs_when_all_is_well(make: Make, root: Path) -> None:
    run(make({"evaluate_segmenter.test_set": "own", "train_reference.labelled_set": "none"}), root)
    written = {name: json.loads(content) for name, content in outputs(root).items()}
    assert set(written) == OUTPUTS
    assert written["metrics/preflight.json"] == {"ok": True}
    assert written["data/inputs/labelled_set.json"] == {"source": "none"}
    test_set = written["data/inputs/test_set.json"]
    assert (test_set["source"], test_set["images"], len(test_set["digest"])) == ("outside", 2, 64)
    model = written["data/inputs/model.json"]
    assert model["pipeline"] == "StableDiffusionPipeline"
    assert len(model["digest"]) == 64 and len(model["files"]) == 10


def test_texts_from_outside_have_their_digest(make: Make, root: Path) -> None:
    run(make(), root)
    none = {"classes_file": "none", "captions": "none", "lexicon": "builtin"}
    assert json.loads((root / "data/inputs/texts.json").read_text()) == none
    (root / "own/captions.txt").write_text("A dog by a car.\n")
    run(make({"expand_prompts.captions": "own/captions.txt"}), root)
    record = json.loads((root / "data/inputs/texts.json").read_text())
    assert len(record.pop("captions")) == 64
    assert record == {"classes_file": "none", "lexicon": "builtin"}


def test_a_similarity_model_has_its_digest_and_is_looked_for(
    make: Make, root: Path, image_text_folders: dict[str, Path]
) -> None:
    run(make(), root)
    record = root / "data/inputs/similarity.json"
    assert json.loads(record.read_text()) == {"source": "none"}
    shutil.copytree(image_text_folders["clip"], root / "clip")
    run(make({"score_masks.similarity.model": "clip"}), root)
    before = json.loads(record.read_text())
    assert before["source"] == "outside"
    (root / "clip/preprocessor_config.json").write_text("{}")
    run(make({"score_masks.similarity.model": "clip"}), root)
    assert json.loads(record.read_text())["digest"] != before["digest"]
    told = message(make({"score_masks.similarity.model": "no/clip"}), root)
    assert told.startswith("score_masks.similarity.model: no/clip is neither a folder nor")
    strange = {"score_masks.similarity.model": "clip", "score_masks.similarity.device": "tpu"}
    assert message(make(strange), root).startswith("score_masks.similarity.device: must be auto")


def test_sets_of_the_graph_have_a_constant_record(make: Make, root: Path) -> None:
    run(make(), root)
    for name in ("labelled_set", "test_set"):
        record = json.loads((root / f"data/inputs/{name}.json").read_text())
        assert record == {"source": "data/storybook"}


def test_outputs_follow_the_content_of_the_inputs(make: Make, root: Path) -> None:
    params = make({"evaluate_segmenter.test_set": "own"})
    run(params, root)
    before = outputs(root)
    run(params, root)
    assert outputs(root) == before
    (root / "own/labels/a.png").write_bytes(encode_label(np.ones((4, 4), np.uint8)))
    run(params, root)
    after = outputs(root)
    assert {name for name in OUTPUTS if before[name] != after[name]} == {
        "data/inputs/test_set.json"
    }


def test_slow_checks_run_again_only_for_other_content(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("check_pairs", "read_tokenizers", "gpu_problems"):
        monkeypatch.setattr(input_checks, name, lambda *_, name=name: calls.append(name) or [])
    slow = ["check_pairs", "check_pairs", "read_tokenizers", "gpu_problems"]
    params = make({"evaluate_segmenter.test_set": "own"})
    run(params, root)
    assert calls == slow
    for path in (root / "own/images").iterdir():
        os.utime(path, ns=(1, 1))
    run(params, root)
    assert calls == slow
    run(make({"evaluate_segmenter.test_set": "own", "write_report.seed": 1}), root)
    assert calls == slow * 2


def test_initial_weights_are_opened_again_only_for_other_content(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[bytes] = []
    monkeypatch.setattr(
        input_checks, "check_training", lambda _, path, *__: opened.append(path.read_bytes())
    )
    params = make({"train_segmenter.init_from": "start.pth"})
    weights, config = root / "start.pth", root / "mmseg_configs/storybook/tiny.py"
    weights.write_bytes(b"one")
    run(params, root)
    run(params, root)
    assert opened == [b"one"]
    record = json.loads((root / "data/inputs/init_from.json").read_text())
    assert record == {"source": "outside", "digest": hashlib.sha256(b"one").hexdigest()}
    weights.write_bytes(b"other")
    run(params, root)
    config.write_text("model = dict()")
    run(params, root)
    assert opened == [b"one", b"other", b"other"]


def test_initial_weights_that_do_not_fit_touch_no_output(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(make(), root)
    before = outputs(root)

    def refuse(params: Params, path: Path, *_: object) -> None:
        raise InputError(f"{path.name} does not fit")

    monkeypatch.setattr(input_checks, "check_training", refuse)
    (root / "start.pth").touch()
    assert (
        message(make({"train_segmenter.init_from": "start.pth"}), root) == "start.pth does not fit"
    )
    assert outputs(root) == before


def test_other_code_or_another_lexicon_checks_again(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def watched(folder: Path, files: Iterable[Path], cache: DigestCache) -> dict[str, str]:
        found = file_digests(folder, files, cache)
        seen.extend(found)
        return found

    monkeypatch.setattr(preflight, "file_digests", watched)
    run(make(), root)
    assert {"preflight.py", "reference_checks.py", "lexicons/builtin.yaml"} <= set(seen)


def test_a_failed_check_is_not_remembered_as_passed(make: Make, root: Path) -> None:
    bad = make({"expand_prompts.templates": ["a {} " + "very " * 20]})
    first = message(bad, root)
    assert message(bad, root) == first


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


def test_all_problems_are_listed_together(make: Make, root: Path) -> None:
    changes = {
        "expand_prompts.negative_prompt": "blurry ugly distorted",
        "sample_images.height": 60,
        "train_reference.labelled_set": "nowhere",
        "train_segmenter.config": "none.py",
    }
    lines = message(make(changes), root).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "sample_images.height",
        "train_reference.labelled_set",
        "train_segmenter.config",
        "expand_prompts.negative_prompt",
    ]


def test_a_tokenizer_that_cannot_be_loaded_is_told(make: Make, root: Path) -> None:
    (root / "model/tokenizer/tokenizer.json").write_text("{}")
    assert "sample_images.model: " in message(make(), root)


@pytest.mark.parametrize("resolutions", [None, [16, 4]])
def test_maps_that_the_model_has_are_fine(
    make: Make, root: Path, resolutions: list[int] | None
) -> None:
    capture = {
        "sample_images.capture.resolutions": resolutions,
        "sample_images.capture.self_attention": {"resolution": 8, "step": "middle"},
        "extract_masks.attn2mask.resolutions": None,
    }
    run(make(capture), root)
    assert set(outputs(root)) == OUTPUTS


def test_a_model_without_cross_attention_is_told(make: Make, root: Path) -> None:
    config = root / "model/unet/config.json"
    blocks = {"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
    config.write_text(json.dumps({**blocks, "mid_block_type": None}))
    expected = "sample_images.model: the UNet of model has no cross-attention to read masks from"
    assert message(make(), root).startswith(expected)


XL = {
    "sample_images.model": "xl",
    "sample_images.capture.resolutions": None,
    "extract_masks.attn2mask.resolutions": None,
}


@pytest.fixture
def xl_folder(root: Path, toy_folders: dict[str, Path]) -> Path:
    """A pipeline with two text encoders and two tokenizers."""
    return Path(shutil.copytree(toy_folders["XL"], root / "xl"))


PICTURE = {"name": "picture", "phrases": ["picture"], "synonyms": [], "hyponyms": []}
"""A class that all toy tokenizers know as one token."""


def plan_of(make: Make, **changes: Any) -> Plan:
    section = {"classes": [PICTURE], "images_per_class": 1, **changes}
    return prepare(make({f"expand_prompts.{k}": v for k, v in section.items()}).expand_prompts)


def test_two_tokenizers_that_agree_are_fine(make: Make, root: Path, xl_folder: Path) -> None:
    changes = {"render_storybook.domain": "none", "expand_prompts.templates": ["a {}"]}
    changes |= {"train_reference.labelled_set": "none", "evaluate_segmenter.test_set": "none"}
    run(make(XL | changes | {"expand_prompts.classes": [PICTURE]}), root)
    model = json.loads((root / "data/inputs/model.json").read_text())
    assert (model["pipeline"], len(model["files"])) == ("StableDiffusionXLPipeline", 14)


def test_the_shorter_of_two_tokenizers_is_the_limit(make: Make, xl_folder: Path) -> None:
    config = xl_folder / "tokenizer_2/tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_max_length": 7}))
    model = read_model(xl_folder)
    # start, a, picture, and, an, oak, end
    fitting = plan_of(make, templates=["a {} and an oak"])
    assert prompt_problems(fitting, *read_tokenizers(model)) == []
    (problem,) = prompt_problems(
        plan_of(make, templates=["a {} and an oak dog"]), *read_tokenizers(model)
    )
    assert problem.startswith(
        "expand_prompts.templates: 1 of 1 prompts are too long: the text encoder reads 7 tokens, "
        'start and end included; shorten the templates or phrases of "a picture and an oak dog" (8 '
    )


def test_tokenizers_that_split_a_prompt_differently_are_told(
    make: Make, xl_folder: Path, model_folder: Path
) -> None:
    """To the first "house" is five tokens, its letters; the second knows it as one."""
    shutil.rmtree(xl_folder / "tokenizer_2")
    shutil.copytree(model_folder / "tokenizer", xl_folder / "tokenizer_2")
    model = read_model(xl_folder)
    alike = plan_of(make, templates=["a {}"], negative_prompt="house")
    assert prompt_problems(alike, *read_tokenizers(model)) == []
    (problem,) = prompt_problems(
        plan_of(make, templates=["a {} by a house"]), *read_tokenizers(model)
    )
    assert problem.startswith(
        "sample_images.model: its two tokenizers split 1 of 1 prompts differently, so no column of "
        "attention is the phrase's; choose other words or another model for \"a picture by a hou"
    )


def test_the_command_prints_the_message_and_ends_with_status_1(make: Make, root: Path) -> None:
    changed = make({"sample_images.model": "nowhere"}).model_dump(mode="json")
    (root / "params.yaml").write_text(yaml.safe_dump(changed))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tasks.preflight"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("sample_images.model: nowhere is neither a folder nor a model")
    assert "Traceback" not in done.stderr
    assert outputs(root) == {}


def test_preflight_and_what_it_imports_leave_torch_alone() -> None:
    code = "import sys, tasks.preflight; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


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
