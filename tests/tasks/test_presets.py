"""Presets are chosen without losing work, say how they differ, and tell what is to be fetched."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tasks import preflight
from tasks.input_checks import Inputs, config_problems
from tasks.params import InputError, Params, load_params
from tasks.presets import diff, differences, preset_names, use, use_preset
from tasks.run_estimate import Run, estimate, total
from tests.toys.presets import REAL, STORYBOOKS

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


def test_a_second_replacement_keeps_the_first_backup(
    house: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = house / "params.yaml"
    monkeypatch.chdir(house)
    for note, backup in (("# a\n", "params.yaml.bak"), ("# b\n", "params.yaml.bak1")):
        params.write_text(STORYBOOK + note)
        with pytest.raises(InputError, match=rf"--force, which keeps them as {backup}$"):
            use_preset("smaller", root=house)
        use("smaller", force=True)
        assert capsys.readouterr().out == (
            f"params.yaml is the preset smaller now; before: {backup}\n"
        )
    kept = {path.name: path.read_text() for path in house.glob("params.yaml*")}
    assert kept == {
        "params.yaml": SMALLER,
        "params.yaml.bak": STORYBOOK + "# a\n",
        "params.yaml.bak1": STORYBOOK + "# b\n",
    }


def test_params_that_cannot_be_replaced_stay(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited = STORYBOOK + "# mine\n"
    (house / "params.yaml").write_text(edited)
    replace = Path.replace

    def fail(path: Path, target: Path) -> Path:
        if target == house / "params.yaml":
            raise OSError("no space")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        use_preset("smaller", force=True, root=house)
    assert (house / "params.yaml").read_text() == edited


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


@pytest.mark.parametrize("content", [b"a: [1", b"a: caf\xe9", b"seed: 2024-13-45", b"- a"])
def test_params_that_cannot_be_read_are_told_where_they_are_compared(
    house: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(house)
    Path("params.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"(?s)^params\.yaml: .*(line 1|must hold one mapping)"):
        diff("smaller")


def test_refuses_a_broken_preset(house: Path) -> None:
    broken = STORYBOOK.replace("images_per_class: 150", "images_per_class: 0")
    (house / "presets/broken.yaml").write_text(broken)
    with pytest.raises(InputError, match="images_per_class"):
        use_preset("broken", root=house)
    assert (house / "params.yaml").read_text() == STORYBOOK


def test_the_presets_are_those_of_the_readme() -> None:
    assert preset_names(ROOT) == sorted([*STORYBOOKS, *REAL])


def test_finetuning_is_storybook_from_another_start() -> None:
    ours, theirs, pretraining = (
        yaml.safe_load((ROOT / f"presets/{name}.yaml").read_text())
        for name in ("storybook_finetune", "storybook", "storybook_pretrain")
    )
    key = "train_segmenter.init_from"
    assert list(differences(ours, theirs)) == [(key, "models/pretrained", "none")]
    assert pretraining["train_segmenter"] == theirs["train_segmenter"]


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
        r"One A100 takes (\d+) h, of them (\d+) h for sampling and at most (\d+) h for training"
        r"( without validation|), and at most (\d+) GB of disk: "
        rf"`python -m tasks.doctor --params presets/{name}.yaml",
        text,
    )
    assert told
    whole = total(costs)
    hours = (told[1], told[2], told[3], told[5])
    assert [float(number) for number in hours] == pytest.approx(
        [
            (whole.seconds or 0) / 3600,
            found["sample_images"],
            found["train_segmenter"],
            (whole.disk or 0) / 1e9,
        ],
        rel=0.002,
        abs=0.5,
    )
    (basis,) = (cost.basis for cost in costs if cost.stage == "train_segmenter")
    assert bool(told[4]) == ("without validation" in basis)


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
