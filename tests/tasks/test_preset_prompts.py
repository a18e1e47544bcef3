"""Every preset's classes and prompts: a tokenizer reads them, and they mean what they say."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import CLIPTokenizer

from storybook.vocabulary import PAGE_CLASSES, STREET_CLASSES
from tasks.captions import claim_table, find_claims
from tasks.english import normalise
from tasks.lexicon import look_up_all
from tasks.params import Params, SourceShares, load_params
from tasks.prompt_checks import prompt_problems
from tasks.prompt_sources import prepare
from tasks.prompts import Tally, class_rows, expand
from tasks.templates import fill, parse
from tests.toys.presets import REAL, STORYBOOKS

ROOT = Path(__file__).parents[2]


def load(name: str, shared_root: Path, plain: bool = False) -> Params:
    """A preset's parameters, its list and lexicon those of ``../shared/data``.

    Args:
        plain: the list of wnids, in place of the table with names.
    """
    text = (ROOT / f"presets/{name}.yaml").read_text()
    lists, count = "../shared/data/lists", name.removeprefix("imagenet_s")
    theirs = f"ImageNetS_categories_im{count}.txt"
    ours = theirs if plain else f"imagenet_s_{count}.tsv"
    text = text.replace(f"data/imagenet_s/{theirs}", f"{lists}/{ours}")
    text = text.replace("wordnet:omw-en:1.4", f"wordnet:{lists}/oewn-nouns.xml.xz")
    (shared_root / "params.yaml").write_text(text)
    return load_params(shared_root / "params.yaml", lists=shared_root)


@pytest.mark.parametrize("name", REAL)
def test_a_real_preset_expands_for_the_real_tokenizer(
    name: str, shared_root: Path, clip_tokenizer: Any
) -> None:
    """77 tokens, no unknown word, and each phrase is whole tokens of its own."""
    params = load(name, shared_root)
    section = params.expand_prompts.model_copy(update={"images_per_class": 8})
    assert len(section.classes) == REAL[name]
    assert prompt_problems(prepare(section, shared_root), [clip_tokenizer], 77) == []
    rows = list(expand(section, shared_root))
    assert len(rows) == 8 * REAL[name]
    assert len({row["prompt_id"] for row in rows}) == len(rows)
    texts = [row["text"] for row in rows]
    encoded = clip_tokenizer(texts, return_offsets_mapping=True)["offset_mapping"]
    for row, offsets in zip(rows, encoded, strict=True):
        for place in row["classes"]:
            inside = [
                (start, end)
                for start, end in offsets
                if start < place["end"] and end > place["start"]
            ]
            assert (inside[0][0], inside[-1][1]) == (place["start"], place["end"]), row["text"]


def test_the_changes_of_imagenet_s_are_the_same_in_all_its_presets() -> None:
    """The lists call some classes differently, so they go by their senses."""
    changes, stopped = {}, {}
    for count in (919, 300, 50):
        section = yaml.safe_load((ROOT / f"presets/imagenet_s{count}.yaml").read_text())
        section = section["expand_prompts"]
        words = {"phrases", "synonyms", "hyponyms"}
        changes[count] = {
            item["sense"]: {key: item[key] for key in words & set(item)}
            for item in section["classes"]
        }
        stopped[count] = set(section["stop_words"])
    for count in (300, 50):
        assert changes[count].items() <= changes[919].items()
        assert stopped[count] <= stopped[919]


@pytest.mark.parametrize("count", [50, 300, 919])
def test_imagenet_s_stops_words_that_are_there(count: int, shared_root: Path) -> None:
    """Each stop word stops one, and each change of a class is needed."""
    params = load(f"imagenet_s{count}", shared_root)
    section = params.expand_prompts
    every = look_up_all(section.model_copy(update={"stop_words": ()}), shared_root)
    there = {normalise(word.text) for entry in every for word in entry.words}
    assert [word for word in section.stop_words if normalise(word) not in there] == []
    left = {normalise(w.text) for entry in look_up_all(section, shared_root) for w in entry.words}
    assert [word for word in section.stop_words if normalise(word) in left] == []


def test_imagenet_s_names_mean_the_class(shared_root: Path) -> None:
    section = load("imagenet_s919", shared_root).expand_prompts
    entries = {entry.synset: entry for entry in look_up_all(section, shared_root)}
    for synset, phrase in (
        ("n03947888", "pirate ship"),
        ("n03793489", "computer mouse"),
        ("n03954731", "carpenter's plane"),
        ("n04243546", "slot machine"),
        ("n03337140", "filing cabinet"),
        ("n04118776", "measuring ruler"),
        ("n01608432", "kite bird"),
        ("n04037443", "race car"),
        ("n02108089", "boxer dog"),
        ("n02276258", "admiral butterfly"),
        ("n02279972", "monarch butterfly"),
    ):
        assert [word.text for word in entries[synset].of("plain")] == [phrase]
    for synset, word in (
        ("n04404412", "cable television service"),
        ("n07930864", "claret cup"),
        ("n09229709", "white water"),
        ("n03481172", "plessor"),
        ("n02445715", "wood pussy"),
        ("n02930766", "gypsy cab"),
    ):
        assert word not in [each.text for each in entries[synset].words]


@pytest.mark.parametrize("count", [50, 300, 919])
def test_imagenet_s_expands_from_a_list_of_wnids_alone(count: int, shared_root: Path) -> None:
    """As the preset has it; its changes of classes go by their senses."""
    params = load(f"imagenet_s{count}", shared_root, plain=True).expand_prompts
    rows = list(expand(params.model_copy(update={"images_per_class": 2}), shared_root))
    assert len(rows) == 2 * count
    first = [row["classes"][0] for row in rows[::2]]
    phrases = {each["synset"]: each["phrase"] for each in first}
    assert {each["relation"] for each in first} == {"plain"}
    assert phrases["n01443537"] == "goldfish"
    assert phrases["n03047690"] == "wooden clog"  # a change of the preset
    assert phrases["n02510455"] == "panda bear"  # not coon bear, a stop word


def test_human_captions_expand_for_the_real_tokenizer(
    shared_root: Path, clip_tokenizer: Any
) -> None:
    section = load_params(ROOT / "presets/voc12.yaml").expand_prompts
    changes = {
        "captions": "../shared/data/captions/voc_human_captions.json",
        "sources": SourceShares(templates=0.2, captions=0.5, classes_appended=0.3),
        "pairs": "captions",
        "images_per_class": 50,
    }
    plan = prepare(section.model_copy(update=changes), shared_root)
    assert prompt_problems(plan, [clip_tokenizer], 77) == []
    rows = [row for name in ("cat", "dog", "sofa") for row in class_rows(plan, name, Tally())]
    for row in rows:
        for place in row["classes"]:
            assert row["text"][place["start"] : place["end"]] == place["phrase"]
    sources = [row["source"] for row in rows]
    assert [sources.count(source) for source in ("captions", "classes_appended")] == [75, 45]
    beside = {each["name"] for row in rows for each in row["classes"] if row["caption_id"]}
    assert {"cat", "dog", "sofa", "person"} <= beside


@pytest.mark.parametrize("name", [*STORYBOOKS, *REAL])
def test_no_template_of_a_preset_names_a_class(name: str, shared_root: Path) -> None:
    """Nothing marks such a word, and `tasks.phrases` takes it for the class's own."""
    params = load(name, shared_root)
    plan = prepare(params.expand_prompts, shared_root)
    known = claim_table(source.entry for source in plan.sources.values())
    around = [
        (one.before + one.determiner + " " + one.adjectives, one.after) for one in plan.templates
    ]
    assert [parts for parts in around if find_claims(" | ".join(parts), known)] == []


def test_templates_of_cityscapes_read_well() -> None:
    section = load_params(ROOT / "presets/cityscapes.yaml").expand_prompts
    assert len(set(section.templates)) == 24
    assert [fill(parse(section.templates[6 * n]), ["road", "sky"])[0] for n in range(4)] == [
        "a dashcam photo of a road and sky",
        "a wide-angle photo of a road and sky",
        "a city scene with a road and sky",
        "a photo of a road and sky seen through a windscreen",
    ]


def test_labels_of_cityscapes_are_its_train_ids() -> None:
    values = load_params(ROOT / "presets/cityscapes.yaml").expand_prompts.label_values
    assert list(values.values()) == list(range(19))
    known = {"road": 0, "sidewalk": 1, "traffic light": 6, "sky": 10, "person": 11, "bicycle": 18}
    assert {name: values[name] for name in known} == known


def test_streets_are_full_scenes_that_storybook_s_text_encoder_can_read() -> None:
    """Whole words, no piece of one, and never more than the 20 tokens that it reads."""
    section = load_params(ROOT / "presets/storybook_street.yaml").expand_prompts
    assert section.label_names == list(STREET_CLASSES)
    tokenizer = CLIPTokenizer.from_pretrained(ROOT / "models/storybook-sd/tokenizer")
    assert prompt_problems(prepare(section), [tokenizer], 20) == []
    rows = list(expand(section))
    assert len(rows) == 6 * section.images_per_class
    texts = {row["text"] for row in rows}
    scene = "a car, a tree and grass on a road under a dark sky by a building"
    assert {"grass on a road under a dark sky", scene} <= texts
    for text in texts:
        assert len(tokenizer(text)["input_ids"]) == 2 + len(text.replace(",", " ,").split())
    assert all({"road", "sky"} <= {each["name"] for each in row["classes"]} for row in rows)


def test_storybook_expands() -> None:
    section = load_params(ROOT / "presets/storybook.yaml").expand_prompts
    assert len(list(expand(section))) == 8 * section.images_per_class


def test_pretraining_makes_each_kind_of_storybook_a_class() -> None:
    section = load_params(ROOT / "presets/storybook_pretrain.yaml").expand_prompts
    kinds = [kind for thing in PAGE_CLASSES for kind in thing.hyponyms]
    assert section.class_names == kinds and len(kinds) == 24
    rows = list(expand(section))
    assert len(rows) == 24 * section.images_per_class
    assert {(each["name"], each["phrase"]) for row in rows for each in row["classes"]} == {
        (kind, kind) for kind in kinds
    }
    tokenizer = CLIPTokenizer.from_pretrained(ROOT / "models/storybook-sd/tokenizer")
    assert prompt_problems(prepare(section), [tokenizer], 20) == []


def test_clip_s_tokenizer_is_the_real_one(clip_tokenizer: Any) -> None:
    """The ids that CLIP's own tests and documentation give for this sentence."""
    ids = clip_tokenizer("a photo of a cat")["input_ids"]
    assert ids == [49406, 320, 1125, 539, 320, 2368, 49407]
