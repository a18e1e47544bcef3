"""params.yaml is read: near matches for odd keys, classes from lists, what a method asks for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.params import InputError, Params, Quantile, Ratio, load_params
from tests.toys.parameters import load, message


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


def test_urn_needs_response_scalings(tmp_path: Path) -> None:
    text = message(tmp_path, train_segmenter__reliability="urn")
    assert text.startswith("params.yaml: extract_masks.response_scalings: train_segmenter.reli")
    several = {"extract_masks__response_scalings": [0.5, 1.0, 2.0]}
    section = load(tmp_path, train_segmenter__reliability="urn", **several).train_segmenter
    assert section.knobs == {"sharpness": 2.4}
    claimed = several | {"extract_masks__attn2mask__beta": 1.0}
    text = message(tmp_path, train_segmenter__reliability="urn", **claimed)
    assert text.startswith("params.yaml: extract_masks.attn2mask.beta: at 1 no scaling")
    load(tmp_path, train_segmenter__reliability="weighted", **claimed)


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


def test_a_class_beside_a_list_has_one_sense(tmp_path: Path) -> None:
    crane = {"name": "crane", "sense": ["n02012849"]}
    text = message(tmp_path, **listed(tmp_path, [crane]))
    assert "is none; drop it, or give `sense:` a wnid of the list" in text


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
        ('a: "\\UFFFFFFFF"', "not valid YAML"),
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


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: 1\nseed: 2024-13-45\n", r"not valid YAML: month must .* line 2, column 7"),
        (b"seed: " + b"1" * 5000, r"not valid YAML: Exceeds the limit .* line 1, column 7"),
        (b"a: 1\nb: caf\xe9\n", r"line 2: byte 0xe9 is no UTF-8 text; save the file in UTF-8"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(InputError, match=rf"(?s)params\.yaml: {expected}"):
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
