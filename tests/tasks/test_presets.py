import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import CLIPTokenizer

from storybook.vocabulary import PAGE_CLASSES, STREET_CLASSES
from tasks import preflight
from tasks.captions import claim_table, find_claims
from tasks.english import normalise
from tasks.input_checks import Inputs, config_problems
from tasks.lexicon import look_up_all
from tasks.params import InputError, Params, SourceShares, load_params
from tasks.presets import diff, differences, preset_names, use_preset
from tasks.prompt_checks import prompt_problems
from tasks.prompt_sources import prepare
from tasks.prompts import Tally, class_rows, expand
from tasks.run_estimate import Run, estimate, total
from tasks.templates import fill, parse

ROOT = Path(__file__).parents[2]
STORYBOOK = (ROOT / "presets/storybook.yaml").read_text()
SMALLER = STORYBOOK.replace("images_per_class: 150", "images_per_class: 10")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A repository with two presets, the first one in use and committed."""
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/storybook.yaml").write_text(STORYBOOK)
    (tmp_path / "presets/smaller.yaml").write_text(SMALLER)
    (tmp_path / "params.yaml").write_text(STORYBOOK)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    git(folder, *author, "commit", "--quiet", "--message", "state")


def test_lists_presets_in_order(house: Path) -> None:
    assert preset_names(house) == ["smaller", "storybook"]


def test_replaces_a_preset_by_another(house: Path) -> None:
    assert use_preset("smaller", root=house) is None
    assert (house / "params.yaml").read_text() == SMALLER
    assert not (house / "params.yaml.bak").exists()


def test_works_without_params(house: Path) -> None:
    (house / "params.yaml").unlink()
    use_preset("smaller", root=house)
    assert (house / "params.yaml").read_text() == SMALLER


def test_keeps_changes_by_hand(house: Path) -> None:
    edited = STORYBOOK.replace("images_per_class: 150", "images_per_class: 77")
    (house / "params.yaml").write_text(edited)
    with pytest.raises(InputError, match="neither committed nor a preset"):
        use_preset("smaller", root=house)
    assert (house / "params.yaml").read_text() == edited

    assert use_preset("smaller", force=True, root=house) == house / "params.yaml.bak"
    assert (house / "params.yaml").read_text() == SMALLER
    assert (house / "params.yaml.bak").read_text() == edited


def test_replaces_what_is_committed(house: Path) -> None:
    (house / "params.yaml").write_text(STORYBOOK + "# a note\n")
    commit(house)
    assert use_preset("smaller", root=house) is None


def test_names_the_nearest_preset(house: Path) -> None:
    with pytest.raises(InputError, match="no preset 'storybok'; did you mean 'storybook'"):
        use_preset("storybok", root=house)


def test_elsewhere_and_without_params_the_remedy_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for look in (preset_names, lambda root: use_preset("storybook", root=root)):
        with pytest.raises(InputError, match="presets: holds no preset; run from the repository"):
            look(tmp_path)
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/storybook.yaml").write_text(STORYBOOK)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^params.yaml: no such file .* use storybook` makes it"):
        diff("storybook")


def test_refuses_a_broken_preset(house: Path) -> None:
    broken = STORYBOOK.replace("images_per_class: 150", "images_per_class: 0")
    (house / "presets/broken.yaml").write_text(broken)
    with pytest.raises(InputError, match="images_per_class"):
        use_preset("broken", root=house)
    assert (house / "params.yaml").read_text() == STORYBOOK


REAL = {
    "voc12": 20,
    "cityscapes": 19,
    "imagenet_s50": 50,
    "imagenet_s300": 300,
    "imagenet_s919": 919,
}


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


STORYBOOKS = ("storybook", "storybook_finetune", "storybook_pretrain", "storybook_street")


def test_the_presets_are_those_of_the_readme() -> None:
    assert preset_names(ROOT) == sorted([*STORYBOOKS, *REAL])


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


def test_finetuning_is_storybook_from_another_start() -> None:
    ours, theirs, pretraining = (
        yaml.safe_load((ROOT / f"presets/{name}.yaml").read_text())
        for name in ("storybook_finetune", "storybook", "storybook_pretrain")
    )
    key = "train_segmenter.init_from"
    assert list(differences(ours, theirs)) == [(key, "models/pretrained", "none")]
    assert pretraining["train_segmenter"] == theirs["train_segmenter"]


def test_clip_s_tokenizer_is_the_real_one(clip_tokenizer: Any) -> None:
    """The ids that CLIP's own tests and documentation give for this sentence."""
    ids = clip_tokenizer("a photo of a cat")["input_ids"]
    assert ids == [49406, 320, 1125, 539, 320, 2368, 49407]


@pytest.mark.parametrize("name", ["imagenet_s50", "imagenet_s919"])
def test_a_preset_can_be_chosen_before_its_files_are_there(house: Path, name: str) -> None:
    preset = (ROOT / f"presets/{name}.yaml").read_text()
    (house / f"presets/{name}.yaml").write_text(preset)
    use_preset(name, root=house)
    assert (house / "params.yaml").read_text() == preset
    with pytest.raises(InputError, match=r"classes_file: .*no such file; the lists of ImageNet-S"):
        load_params(house / "params.yaml", lists=house)


MODEL = (
    "sample_images.model: stable-diffusion-v1-5/stable-diffusion-v1-5 is neither a folder nor a "
    "model in the hub's cache; give the path of a folder in diffusers format, or read the licence, "
    "https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5, and fetch the model once "
    "into that cache with `hf download stable-diffusion-v1-5/stable-diffusion-v1-5 --include"
)
MISSING = {
    "voc12": [
        "evaluate_segmenter.test_set: {root}/data/voc12/val: no such folder",
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (its terms stand there)",
        "python -m tasks.labelled_trees voc12 VOCdevkit/VOC2012 data/voc12/val --split val`",
    ],
    "cityscapes": [
        "evaluate_segmenter.test_set: {root}/data/cityscapes/val: no such folder",
        "adapt_lora.images: {root}/data/cityscapes/leftImg8bit/train does not exist",
        "https://www.cityscapes-dataset.com/license/",
        "csDownload leftImg8bit_trainvaltest.zip gtFine_trainvaltest.zip",
        "python -m tasks.labelled_trees cityscapes data/cityscapes data/cityscapes/val --split val",
    ],
    **{
        f"imagenet_s{count}": [
            f"evaluate_segmenter.test_set: {{root}}/data/imagenet_s/{count}/val: no such folder",
            "https://www.image-net.org/download",
            f"data_preparation.sh IMAGENET SAVE {count} false",
            f"SAVE/ImageNetS{count} data/imagenet_s/{count}/val --split validation",
            "expand_prompts.lexicon: 'omw-en:1.4' is neither a file nor a lexicon that wn has",
            "`python -m wn download omw-en:1.4`",
            "https://wordnet.princeton.edu/license-and-commercial-use",
        ]
        for count in (50, 300, 919)
    },
}


@pytest.mark.parametrize("name", REAL)
def test_a_real_preset_says_what_to_fetch_and_where_it_goes(
    name: str, house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a repository that has nothing of it: each missing thing is told, none is fetched."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(house / "hub"))
    monkeypatch.setenv("WN_DATA_DIR", str(house / "wn"))
    (house / "mmseg_configs").symlink_to(ROOT / "mmseg_configs")
    (house / f"presets/{name}.yaml").write_bytes((ROOT / f"presets/{name}.yaml").read_bytes())
    use_preset(name, root=house)
    count = name.removeprefix("imagenet_s")
    if count != name:
        listed = f"data/imagenet_s/ImageNetS_categories_im{count}.txt"
        with pytest.raises(InputError) as caught:
            load_params(house / "params.yaml", lists=house)
        assert f"curl -fL --create-dirs -o {house / listed} https://raw.githubuserc" in str(
            caught.value
        )
        assert "https://github.com/LUSSeg/ImageNet-S" in str(caught.value)
        (house / listed).parent.mkdir(parents=True)
        changed = yaml.safe_load((house / "params.yaml").read_text())["expand_prompts"]["classes"]
        wnids = [item["sense"] for item in changed]
        wnids += [f"n{number:08d}" for number in range(int(count) - len(wnids))]
        (house / listed).write_text("\n".join(wnids))
    params = load_params(house / "params.yaml", lists=house)
    assert len(params.expand_prompts.classes) == REAL[name]
    with pytest.raises(InputError) as caught:
        preflight.run(params, house)
    told = str(caught.value)
    for expected in [MODEL, *MISSING[name]]:
        assert expected.format(root=house) in told
    assert not (house / "hub").exists() and not (house / "metrics").exists()


@pytest.mark.parametrize("name", REAL)
def test_the_hours_in_a_real_preset_are_the_doctor_s(name: str) -> None:
    raw = yaml.safe_load((ROOT / f"presets/{name}.yaml").read_text())
    if raw["expand_prompts"]["classes_file"] != "none":  # any classes, as many as the list has
        names = [{"name": f"c{number}"} for number in range(REAL[name])]
        raw["expand_prompts"] |= {"classes_file": "none", "classes": names}
    params = Params.model_validate(raw)
    costs = estimate(Run(params, Inputs(params, ROOT / "nowhere"), "A100", "A100"))
    found = {cost.stage: (cost.seconds or 0) / 3600 for cost in costs}
    text = (ROOT / f"presets/{name}.yaml").read_text().partition("\n\n")[0].replace("\n#", "")
    told = re.search(
        r"One A100 takes (\d+) h, of them (\d+) h for sampling and at most (\d+) h for training, "
        rf"and at most (\d+) GB of disk: `python -m tasks.doctor --params presets/{name}.yaml",
        text,
    )
    assert told
    whole = total(costs)
    assert [float(number) for number in told.groups()] == pytest.approx(
        [
            (whole.seconds or 0) / 3600,
            found["sample_images"],
            found["train_segmenter"],
            (whole.disk or 0) / 1e9,
        ],
        rel=0.05,
    )


@pytest.mark.parametrize("name", REAL)
def test_the_network_of_a_real_preset_is_there(name: str) -> None:
    params = load_params(ROOT / f"presets/{name}.yaml", lists=None)
    assert config_problems(params.train_segmenter.config, ROOT) == []


def test_differences_are_dotted_keys_with_both_values() -> None:
    ours = {"a": {"b": 1, "c": [1, 2], "same": 0}, "only": 3}
    theirs = {"a": {"b": 2, "c": [1, 3], "same": 0}, "new": None}
    assert list(differences(ours, theirs)) == [
        ("a.b", 1, 2),
        ("a.c", [1, 2], [1, 3]),
        ("only", 3, None),
    ]
