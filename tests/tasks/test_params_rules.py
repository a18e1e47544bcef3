"""Every rule of params.yaml: the message names the key, the value and the rule."""

from pathlib import Path
from typing import Any

import pytest

from tests.toys.parameters import message

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
    ("filter_masks__duplicate_distance", 17, "less than or equal to 16, not 17"),
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
