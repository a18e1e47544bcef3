"""Every rule of params.yaml: the message names the key, the value, the rule and a near match."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.params import InputError, Params, Quantile, Ratio, load_params

ROOT = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((ROOT / "presets/storybook.yaml").read_text(encoding="utf-8"))


def load(folder: Path, **changes: Any) -> Params:
    """The default parameters with dotted keys changed (``__`` is the dot); ... removes one."""
    raw = deepcopy(DEFAULT)
    for key, value in changes.items():
        *path, last = key.split("__")
        place = raw
        for part in path:
            place = place[part]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    (folder / "params.yaml").write_text(json.dumps(raw), encoding="utf-8")
    return load_params(folder / "params.yaml")


def message(folder: Path, **changes: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(folder, **changes)
    return str(caught.value).replace(str(folder / "params.yaml"), "params.yaml")


def test_the_default_holds(tmp_path: Path) -> None:
    params = load(tmp_path)
    assert params.expand_prompts.class_names[:2] == ["car", "boat"]
    assert params.train_segmenter.learning_rate == 0.004


def test_a_misspelt_key_gets_the_near_match(tmp_path: Path) -> None:
    assert message(tmp_path, sample_images__guidance_scal=4.0) == (
        "params.yaml: sample_images.guidance_scal: unknown key (value 4.0); "
        "did you mean 'guidance_scale'?"
    )


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("sample_image", "'sample_images'"),
        ("expand_prompts__clases", "'classes'"),
        ("expand_prompts__shares__plane", "'plain'"),
        ("extract_masks__guided__epsilo", "'epsilon'"),
    ],
)
def test_near_matches_are_found_at_every_depth(tmp_path: Path, key: str, near: str) -> None:
    text = message(tmp_path, **{key: 1})
    assert f"{key.replace('__', '.')}: unknown key (value 1); did you mean {near}?" in text


def test_a_misspelt_key_of_a_class_gets_the_near_match(tmp_path: Path) -> None:
    text = message(tmp_path, expand_prompts__classes=["boat", {"name": "car", "phrase": ["car"]}])
    assert "expand_prompts.classes.1.phrase: unknown key" in text
    assert "did you mean 'phrases'?" in text


def test_a_key_like_no_other_gets_the_list(tmp_path: Path) -> None:
    assert message(tmp_path, filter_masks__xyz=1).endswith(
        "unknown key (value 1); "
        "known here: min_area, max_area, min_peak, min_margin, max_entropy, min_agreement, "
        "max_components, min_largest, max_border, max_dark, min_contrast, min_similarity, "
        "min_quality, duplicates, duplicate_distance, max_per_class, min_per_class, absent, "
        "val_share, seed"
    )


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    assert message(tmp_path, sample_images__model=...) == (
        "params.yaml: sample_images.model: required key is missing; the presets show every key "
        "with a comment"
    )


def test_all_violations_are_listed(tmp_path: Path) -> None:
    text = message(tmp_path, sample_images__height=0, filter_masks__seed=-1, write_report__galery=3)
    assert [line.split(": ")[1] for line in text.splitlines()] == [
        "sample_images.height",
        "filter_masks.seed",
        "write_report.galery",
    ]


RULES: list[tuple[str, Any, str]] = [
    ("render_storybook__domain", "pages", "'page', 'street' or 'none', not 'pages'"),
    ("render_storybook__train", 0, "greater than or equal to 1, not 0"),
    ("render_storybook__seed", -1, "greater than or equal to 0, not -1"),
    ("expand_prompts__classes", [], "name at least one class, or a list in classes_file"),
    ("expand_prompts__classes", [""], "at least 1 character"),
    ("expand_prompts__classes", [f"c{n}" for n in range(65_535)], "at most 65534 items"),
    ("expand_prompts__classes", ["car", "boat", "car"], "each class name stands once; twice: car"),
    ("expand_prompts__classes", [{"name": "car", "phrases": [" "]}], "at least one phrase"),
    ("expand_prompts__classes_file", "", "at least 1 character"),
    ("expand_prompts__lexicon", "wordnet", "pattern '^(builtin|wordnet:.+)$', not 'wordnet'"),
    ("expand_prompts__hyponym_depth", 0, "greater than or equal to 1, not 0"),
    ("expand_prompts__depth_weight", 0.0, "greater than 0, not 0.0"),
    (
        "expand_prompts__sources",
        {"templates": 1.0, "captions": 0.5, "classes_appended": 0.0},
        "must be 1, not 1.5",
    ),
    ("expand_prompts__templates", [], "give at least one template, or `default`"),
    ("expand_prompts__templates", ["a {}", "a car"], "exactly one {} for the class: 'a car'"),
    ("expand_prompts__templates", ["{} and {}"], "exactly one {} for the class: '{} and {}'"),
    ("expand_prompts__templates", ["a {{}}"], "has no braces beside its {}: 'a {{}}'"),
    ("expand_prompts__templates", ["a {}\nhere"], "a template is one line, and has no braces"),
    ("expand_prompts__templates", ["a {}", 3], "exactly one {} for the class: 3"),
    ("expand_prompts__templates", "a {}", "must be `default` or a list of templates, not 'a {}'"),
    ("expand_prompts__pairs", "some", "must be any, captions or a list of pairs, such as [[car, t"),
    ("expand_prompts__pairs", [["a", "b", "c"]], "two class names, and ['a', 'b', 'c'] is none"),
    ("expand_prompts__pairs", [["a", 1]], "list of two class names, and ['a', 1] is none"),
    ("expand_prompts__pairs", ["ab"], "a pair is a list of two class names, and 'ab' is none"),
    ("expand_prompts__pairs", [["car", "car"]], "two different classes: [car, car]"),
    ("expand_prompts__always", ["car", "tree", "car"], "each entry stands once; twice: car"),
    ("expand_prompts__places", {"car": "on a road"}, "exactly one {} for the class: 'on a road'"),
    ("expand_prompts__background", "no", "'rest' or 'none', not 'no'"),
    ("expand_prompts__classes", ["car", 3], "and 3 is neither; put a name that is a number or"),
    ("expand_prompts__classes", ["car", " "], "a class needs a name, not ' '"),
    ("expand_prompts__classes", [{"name": "a", "phrases": ["..."]}], "a word in it: '...'"),
    ("expand_prompts__classes", [{"name": "a", "phrases": ["the"]}], "without a, an or the, which"),
    ("expand_prompts__classes", [{"name": "a", "synonyms": ["A dog"]}], "which the prompts put in"),
    ("expand_prompts__classes", [{"name": "a", "hyponyms": ["a\nb"]}], "is one line of words"),
    ("expand_prompts__classes", [{"name": "a", "phrases": ["{}dog"]}], "without braces: '{}dog'"),
    ("expand_prompts__images_per_class", 0, "greater than or equal to 1, not 0"),
    (
        "expand_prompts__shares",
        {"plain": 0.5, "synonym": 0.2, "hyponym": 0.2},
        "must be 1, not 0.9",
    ),
    ("expand_prompts__shares__plain", 1.5, "less than or equal to 1, not 1.5"),
    ("expand_prompts__several_share", -0.1, "greater than or equal to 0, not -0.1"),
    ("expand_prompts__max_classes", 1, "greater than or equal to 2, not 1"),
    ("expand_prompts__negative_prompt", None, "valid string, not None"),
    ("adapt_lora__adapter", "", "at least 1 character"),
    ("adapt_lora__adapter", "train", "adapter: train needs images, a folder or a glob, not none"),
    ("adapt_lora__max_images", 1, "greater than or equal to 2, not 1"),
    ("adapt_lora__template", "a {} {}", "one line with one {} at most, and no other braces"),
    ("adapt_lora__template", "a {car}", "one line with one {} at most, and no other braces"),
    ("adapt_lora__template", " ", "one line with one {} at most"),
    ("adapt_lora__template", "a {}", "template has a {} for the classes of an image, and captio"),
    ("adapt_lora__framing", "pad", "'crop' or 'buckets', not 'pad'"),
    ("adapt_lora__rank", 0, "greater than or equal to 1, not 0"),
    ("adapt_lora__layers", [], "at least 1 item"),
    ("adapt_lora__layers", ["self", "temporal"], "'self' or 'cross', not 'temporal'"),
    ("adapt_lora__layers", ["self", "self"], "each entry stands once; twice: self"),
    ("adapt_lora__targets", ["to_q", "proj"], "'to_q', 'to_k', 'to_v' or 'to_out.0', not 'proj'"),
    ("adapt_lora__snr_gamma", 0.0, "greater than 0, not 0.0"),
    ("adapt_lora__prior_share", 1.0, "less than 1, not 1.0"),
    ("adapt_lora__prior_share", 0.01, "prior_share 0.01 of a step's 16 images (batch_size x gr"),
    ("adapt_lora__prior_template", "a car", "must have a {} for the class, not 'a car'"),
    ("adapt_lora__dtype", "float16", "'float32' or 'bfloat16', not 'float16'"),
    ("adapt_lora__val_share", 0.0, "greater than 0, not 0.0"),
    ("adapt_lora__scale", -1.0, "greater than or equal to 0, not -1.0"),
    ("sample_images__model", "", "at least 1 character"),
    ("sample_images__height", 4, "greater than or equal to 8, not 4"),
    ("sample_images__num_inference_steps", 0, "greater than or equal to 1, not 0"),
    ("sample_images__num_inference_steps", "many", "valid integer"),
    ("sample_images__guidance_scale", -1, "greater than or equal to 0, not -1"),
    ("sample_images__capture__steps", [], "at least 1 item"),
    (
        "sample_images__capture__steps",
        ["middle", 20],
        "capture.steps must lie below num_inference_steps = 10, not 20; middle takes the middle",
    ),
    ("sample_images__capture__steps", ["middle", -1], "must be middle, all or a step counted from"),
    ("sample_images__capture__steps", ["last"], "must be middle, all or a step counted from 0, no"),
    ("sample_images__capture__steps", "middle", "must be a list, such as [a, b], not 'middle'"),
    ("sample_images__capture__steps", ["all", "middle", "all"], "stands once; twice: all"),
    ("sample_images__capture__resolutions", [16, 16], "stands once; twice: 16"),
    ("sample_images__capture", None, "must be a mapping, such as {key: value}, not None"),
    ("sample_images__capture__resolutions", [16, 0], "greater than or equal to 1, not 0"),
    (
        "sample_images__capture__self_attention",
        {"resolution": 16, "step": "all"},
        "must be middle or a step counted from 0, not 'all'",
    ),
    (
        "sample_images__capture__self_attention",
        {"resolution": 16, "step": 25},
        "capture.self_attention.step must lie below num_inference_steps = 10, not 25",
    ),
    ("sample_images__batch_size", 0, "greater than or equal to 1, not 0"),
    ("sample_images__shard_size", 0, "greater than or equal to 1, not 0"),
    ("sample_images__dtype", "float8", "'float32', 'bfloat16' or 'float16', not 'float8'"),
    ("extract_masks__method", "daam", "'self_attention' or 'diffumask', not 'daam'"),
    ("extract_masks__attn2mask__step", "all", "must be middle or a step counted from 0, not 'all'"),
    ("extract_masks__attn2mask__beta", 1.1, "less than or equal to 1, not 1.1"),
    ("extract_masks__averaged__beta", -0.1, "greater than or equal to 0, not -0.1"),
    ("extract_masks__self_attention__power", -1, "greater than or equal to 0, not -1"),
    (
        "extract_masks__self_attention__ignore",
        0.7,
        "ignore must not be above foreground, not 0.7 and 0.6",
    ),
    (
        "extract_masks__diffumask__lowest",
        0.6,
        "lowest must not be above highest, not 0.6 and 0.54",
    ),
    ("extract_masks__refine", "bilateral", "'none', 'guided' or 'crf', not 'bilateral'"),
    ("extract_masks__crf__iterations", 0, "greater than or equal to 1, not 0"),
    ("extract_masks__batch_size", 0, "greater than or equal to 1, not 0"),
    ("extract_masks__guided__radius", 0, "greater than or equal to 1, not 0"),
    ("extract_masks__guided__epsilon", 0.0, "greater than 0, not 0.0"),
    ("extract_masks__guided__subsample", 0, "greater than or equal to 1, not 0"),
    (
        "extract_masks__guided__subsample",
        11,
        "radius must be at least subsample, so that the window on the smaller image holds a pixel "
        "on each side, not 10 and 11",
    ),
    ("extract_masks__guided__iterations", 0, "greater than or equal to 1, not 0"),
    ("extract_masks__guided__sharpness", 0.0, "greater than 0, not 0.0"),
    ("score_masks__duplicate_distance", 17, "less than or equal to 16, not 17"),
    ("score_masks__cross_validation__folds", 1, "must be 0 (off) or at least 2"),
    ("score_masks__cross_validation__temperature", 0.0, "greater than 0, not 0.0"),
    ("score_masks__similarity__batch_size", 0, "greater than or equal to 1, not 0"),
    ("filter_masks__min_area", 1.1, "number from 0 to 1, {quantile: 0.05} or null, not 1.1"),
    ("filter_masks__min_area", True, "number from 0 to 1, {quantile: 0.05} or null, not True"),
    ("filter_masks__min_contrast", -1, "number from 0 to 255, {quantile: 0.05} or null, not -1"),
    ("filter_masks__min_similarity", -2, "number from -1 to 1, {quantile: 0.05} or null, not -2"),
    ("filter_masks__max_components", 0, "number from 1 to 1e+09, {quantile: 0.05} or null, not 0"),
    ("filter_masks__max_entropy", {"quantile": 2}, "or null; a quantile is from 0 to 1"),
    ("filter_masks__max_entropy", {"quantil": 0.5}, "or null; a quantile is from 0 to 1"),
    ("filter_masks__max_per_class", 0, "must be a number of samples, {ratio: 2.0} or null, not 0"),
    ("filter_masks__max_per_class", {"ratio": 0.5}, "a ratio is 1 or more, such as {ratio: 2.0}"),
    ("filter_masks__duplicates", "drop", "'keep' or 'reject', not 'drop'"),
    ("filter_masks__min_area", 0.9, "min_area must be below max_area, not 0.9 and 0.8"),
    ("filter_masks__absent", "keep", "'reject' or 'allow', not 'keep'"),
    ("filter_masks__val_share", 0.6, "less than or equal to 0.5, not 0.6"),
    ("train_segmenter__iterations", 0, "greater than or equal to 1, not 0"),
    ("train_segmenter__batch_size", 1, "greater than or equal to 2, not 1"),
    ("train_segmenter__learning_rate", 0.0, "greater than 0, not 0.0"),
    ("train_segmenter__reliability", "beco", "'urn' or 'co_training', not 'beco'"),
    ("train_segmenter__co_training__classmix", 1.0, "less than 1, not 1.0"),
    ("extract_masks__response_scalings", [1.0], "several different factors, not [1.0]"),
    ("extract_masks__response_scalings", [2.0, 2.0], "several different factors, not [2.0, 2.0]"),
    ("train_segmenter__ema", 1.0, "less than 1, not 1.0"),
    ("train_segmenter__patience", 0, "greater than or equal to 1, not 0"),
    ("train_segmenter__num_workers", -1, "greater than or equal to 0, not -1"),
    ("train_reference__labelled_set", "", "at least 1 character"),
    ("evaluate_segmenter__test_set", "", "at least 1 character"),
    ("evaluate_segmenter__batch_size", 0, "greater than or equal to 1, not 0"),
    ("write_report__gallery", -1, "greater than or equal to 0, not -1"),
]


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    RULES,
    ids=[f"{key}-{number}" for number, (key, *_) in enumerate(RULES)],
)
def test_a_broken_rule_is_named_with_its_key(
    tmp_path: Path, key: str, value: Any, rule: str
) -> None:
    text = message(tmp_path, **{key: value})
    assert len(text.splitlines()) == 1
    assert rule in text
    assert text.startswith(f"params.yaml: {key.partition('__')[0]}")
    of_section = ("capture.", "min_area must", "ignore must", "lowest must", "radius must")
    of_section += ("adapter: train", "template has", "prior_share 0.01")
    if not rule.startswith(of_section):  # rules of the whole section
        assert text.startswith(f"params.yaml: {key.replace('__', '.')}")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"extract_masks__method": "averaged"},
            "params.yaml: sample_images.capture.steps: extract_masks.method averaged reads 'all', "
            "which is not kept; add it to [middle]",
        ),
        (
            {"extract_masks__attn2mask__step": 3},
            "params.yaml: sample_images.capture.steps: extract_masks.method attn2mask reads 3, "
            "which is not kept; add it to [middle]",
        ),
        (
            {"extract_masks__attn2mask__resolutions": [16, 4]},
            "params.yaml: sample_images.capture.resolutions: extract_masks.method attn2mask reads "
            "side 4, which is not kept; add it, or change extract_masks.attn2mask.resolutions",
        ),
        (
            {"filter_masks__min_similarity": 0.2},
            "params.yaml: score_masks.similarity.model: filter_masks.min_similarity needs a CLIP "
            "or SigLIP model, not none; name one, or set the rule to null",
        ),
        (
            {"filter_masks__min_quality": {"quantile": 0.05}},
            "params.yaml: score_masks.cross_validation.folds: filter_masks.min_quality needs 2 or "
            "more, not 0; set folds: 3, or the rule to null",
        ),
        (
            {"filter_masks__duplicates": "reject", "filter_masks__duplicate_distance": 7},
            "params.yaml: score_masks.duplicate_distance: filter_masks.duplicate_distance asks for "
            "7 bits, and duplicates are looked for up to 6; raise it",
        ),
        (
            {"extract_masks__method": "self_attention"},
            "params.yaml: sample_images.capture.steps: extract_masks.method self_attention reads "
            "'all', which is not kept; add it to [middle]\n"
            "params.yaml: sample_images.capture.self_attention: extract_masks.method "
            "self_attention reads it, and null keeps none; give {resolution: 32, step: middle}, "
            "with a side that the model has",
        ),
    ],
)
def test_a_method_whose_capture_is_lacking_is_refused_by_its_key(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    assert message(tmp_path, **changes) == expected


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"fade": 0.95}, "shares of the iterations, 1 at most, not 0.1 and 0.95"),
        ({"warmup": 0.5}, "classmix_from must not lie before warmup ends, not 0.3 and 0.5"),
        ({"accumulation": 4}, "must be a multiple of accumulation, since a checkpoint keeps no"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(
    tmp_path: Path, changes: dict[str, Any], rule: str
) -> None:
    text = message(tmp_path, **{f"train_segmenter__{key}": value for key, value in changes.items()})
    assert text.startswith("params.yaml: train_segmenter: ") and rule in text


def test_urn_needs_response_scalings(tmp_path: Path) -> None:
    text = message(tmp_path, train_segmenter__reliability="urn")
    assert text.startswith("params.yaml: extract_masks.response_scalings: train_segmenter.reli")
    several = {"extract_masks__response_scalings": [0.5, 1.0, 2.0]}
    section = load(tmp_path, train_segmenter__reliability="urn", **several).train_segmenter
    assert section.knobs == {"sharpness": 2.4}


def test_only_the_chosen_methods_knobs_count(tmp_path: Path) -> None:
    knobs = {
        method: load(tmp_path, train_segmenter__reliability=method).train_segmenter.knobs
        for method in ("none", "weighted", "ignore_band")
    }
    assert knobs == {"none": {}, "weighted": {"least": 0.0}, "ignore_band": {"quantile": 0.15}}


def test_a_method_finds_what_is_kept(tmp_path: Path) -> None:
    kept = {"steps": ["middle", "all"], "resolutions": None}
    for method in ("attn2mask", "averaged", "diffumask"):
        capture = {**kept, "self_attention": None}
        masks = load(
            tmp_path, sample_images__capture=capture, extract_masks__method=method
        ).extract_masks
        assert masks.step == ("middle" if method == "attn2mask" else "all")
        assert masks.needs_crf == (method == "diffumask")
        assert not masks.all_claimed
    assert load(tmp_path, extract_masks__refine="crf").extract_masks.needs_crf
    assert load(tmp_path, extract_masks__attn2mask__beta=1).extract_masks.all_claimed
    assert not load(tmp_path, extract_masks__averaged__beta=1).extract_masks.all_claimed


def test_a_class_is_a_name_or_a_mapping(tmp_path: Path) -> None:
    classes = ["car", {"name": "mug", "phrases": ["mug", "cup"], "synonyms": []}]
    section = load(tmp_path, expand_prompts__classes=classes).expand_prompts
    assert section.class_names == ["car", "mug"]
    assert section.classes[0].phrases is None
    assert section.classes[1].phrases == ("mug", "cup")
    assert section.classes[1].synonyms == ()


def test_label_values_begin_with_the_background_where_there_is_one(tmp_path: Path) -> None:
    rest, none = (
        load(
            tmp_path,
            expand_prompts__classes=["road", "sky", "car"],
            expand_prompts__background=background,
        ).expand_prompts
        for background in ("rest", "none")
    )
    assert rest.label_names == ["background", "road", "sky", "car"]
    assert rest.label_values == {"road": 1, "sky": 2, "car": 3}
    assert none.label_names == ["road", "sky", "car"] == rest.class_names
    assert none.label_values == {"road": 0, "sky": 1, "car": 2}


def test_only_without_background_a_class_may_be_called_so(tmp_path: Path) -> None:
    classes = [{"name": "background", "phrases": ["wallpaper"]}, "car"]
    changes = {"expand_prompts__classes": classes, "expand_prompts__background": "none"}
    section = load(tmp_path, **changes).expand_prompts
    assert section.label_values == {"background": 0, "car": 1}
    assert message(tmp_path, expand_prompts__classes=classes) == (
        "params.yaml: expand_prompts: classes: background is what background: rest calls the "
        "pixels of no class; leave that class out"
    )


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("pairs", "captions", "pairs"),
        (
            "sources",
            {"templates": 0.5, "captions": 0.3, "classes_appended": 0.2},
            "sources.captions, sources.classes_appended",
        ),
    ],
)
def test_what_needs_captions_says_so(tmp_path: Path, key: str, value: Any, named: str) -> None:
    assert message(tmp_path, **{f"expand_prompts__{key}": value}) == (
        f"params.yaml: expand_prompts: {named}: needs captions, a text or JSON file, not none"
    )


def listed(folder: Path, classes: list[Any]) -> dict[str, Any]:
    (folder / "list.txt").write_text("n01443537\nn02012849\nn03126707\n")
    file = str(folder / "list.txt")
    return {"expand_prompts__classes_file": file, "expand_prompts__classes": classes}


def test_classes_come_from_a_file_and_are_changed_by_their_sense(tmp_path: Path) -> None:
    crane = {"name": "crane", "sense": "n02012849", "phrases": ["wading bird"]}
    section = load(tmp_path, **listed(tmp_path, [crane])).expand_prompts
    assert section.class_names == ["n01443537", "crane", "n03126707"]
    assert [item.sense for item in section.classes] == ["n01443537", "n02012849", "n03126707"]
    assert section.classes[1].phrases == ("wading bird",)


def test_a_class_beside_a_list_must_be_one_of_it(tmp_path: Path) -> None:
    text = message(tmp_path, **listed(tmp_path, ["dog"]))
    assert text.startswith("params.yaml: expand_prompts.classes_file: ")
    assert "'dog' is none; drop it, or give `sense:` a wnid of the list" in text


def test_a_missing_class_list_is_told_but_does_not_hide_that_a_preset_is_right(
    tmp_path: Path,
) -> None:
    missing = {"expand_prompts__classes_file": "nowhere.tsv", "expand_prompts__classes": []}
    text = message(tmp_path, **missing)
    assert text.startswith("params.yaml: expand_prompts.classes_file: nowhere.tsv: no such file; ")
    params = load_params(tmp_path / "params.yaml", lists=None)
    assert params.expand_prompts.class_names == ["nowhere.tsv"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1", "not valid YAML"),
        ("- a", "must hold one mapping"),
        ("", "must hold one mapping"),
        ("{}", "render_storybook: required key is missing"),
    ],
)
def test_a_file_that_holds_no_parameters_is_refused(
    tmp_path: Path, text: str, expected: str
) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(InputError, match=expected):
        load_params(tmp_path / "params.yaml")


def test_a_missing_file_says_where_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file; .* `python -m tasks.presets use story"):
        load_params(tmp_path / "params.yaml")


def test_parameters_cannot_be_changed_by_accident(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path).sample_images.height = 128  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "value"),
    [("templates", "a {}"), ("pairs", [["a", "b", "c"]]), ("classes", ["car", 3])],
)
def test_a_mistake_is_told_in_one_line(tmp_path: Path, key: str, value: Any) -> None:
    text = message(tmp_path, **{f"expand_prompts__{key}": value})
    assert text.startswith(f"params.yaml: expand_prompts.{key}: ") and "\n" not in text


@pytest.mark.parametrize("phrase", ["A-frame", "T-shirt", "the-dog", "4x4", "pj's"])
def test_phrases_that_only_look_like_mistakes(tmp_path: Path, phrase: str) -> None:
    section = load(tmp_path, expand_prompts__classes=[{"name": "x", "phrases": [phrase]}])
    assert section.expand_prompts.classes[0].phrases == (phrase,)


def test_a_bound_is_a_number_a_quantile_or_nothing(make_params: Callable[..., Params]) -> None:
    changes = {"min_area": {"quantile": 0.05}, "max_area": None, "max_per_class": {"ratio": 2.0}}
    params = make_params({f"filter_masks.{key}": value for key, value in changes.items()})
    section = params.filter_masks
    assert (section.min_area, section.max_area) == (Quantile(quantile=0.05), None)
    assert section.max_per_class == Ratio(ratio=2.0)
    dumped = params.model_dump(mode="json")
    assert {key: dumped["filter_masks"][key] for key in changes} == changes
    assert Params.model_validate(dumped) == params
