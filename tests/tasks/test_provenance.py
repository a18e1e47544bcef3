import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tasks.image_provenance import Provenance, stamp_jpeg, stamp_png
from tasks.params import InputError
from tasks.provenance import STAGES, explain, full_id
from tasks.records import SAMPLES, read_rows, write_json, write_table
from tasks.revisions import WORKSPACE, Revision

ROOT = Path(__file__).parents[2]
HOSTILE = "a <script>alert('1')</script> [red]poodle[/red]\nand a \x1b[31mcar"


def ids(root: Path) -> list[str]:
    return [row["sample_id"] for row in read_rows(root / "data/samples/index.parquet")]


def change_params(root: Path, section: str, **values: Any) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text())
    params[section] |= values
    (root / "params.yaml").write_text(yaml.safe_dump(params))


def test_no_stage_between_a_prompt_and_its_verdict_is_forgotten() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    maker = {
        next(iter(out)) if isinstance(out, dict) else out: name
        for name, stage in stages.items()
        for out in stage["outs"]
    }
    found, todo = set(), ["data/dataset"]
    while todo:
        path = todo.pop()
        name = next((maker[out] for out in maker if f"{path}/".startswith(f"{out}/")), None)
        if name is not None and name not in found:
            found.add(name)
            todo += stages[name]["deps"]
    # These see no sample: inputs are checked, an adapter is trained on pictures.
    assert set(STAGES) == found - {"preflight", "render_storybook", "adapt_lora"}


def test_a_rejected_sample_with_all_that_made_it(lineage_root: Path) -> None:
    found = explain(ids(lineage_root)[1], lineage_root)
    prompt = found["prompt"]
    (word,) = prompt["classes"]
    assert prompt["text"] == HOSTILE
    assert prompt["text"][word["start"] : word["end"]] == word["phrase"] == "poodle"
    assert (word["name"], word["relation"], word["depth"]) == ("dog", "hyponym", 2)
    assert word["synset"] == "oewn-02116078-n"
    assert (prompt["source"], prompt["template"]) == ("templates", "a photo of a {}")
    assert found["model"]["path"] == "models/storybook-sd"
    assert found["model"]["digest"] == "ab" * 32
    assert found["adapter"] == {"digest": "cd" * 32, "source": "trained", "scale": 1.0}
    assert found["verdict"] == {
        "kept": False,
        "rule": "min_area",
        "value": pytest.approx(0.01),
        "bound": 0.04,
        "reason": "dog: area 0.010 below min_area 0.04",
        "split": "",
    }
    assert found["classes"][0]["area"] == pytest.approx(0.01)
    asked = {one["rule"]: one for one in found["rules"] if one["class"] == "dog"}
    assert asked["min_area"]["holds"] is False and asked["max_area"]["holds"] is True
    assert asked["min_area"]["value"] == pytest.approx(0.01)
    assert asked["min_area"]["bound"] == 0.04
    assert list(found["parameters"]) == list(STAGES)
    assert found["parameters"]["filter_masks"]["min_area"] == 0.04
    assert found["parameters"]["sample_images"]["guidance_scale"] == 2.5
    assert found["parameters_changed"] == []
    assert found["revision"]["subject"] == "the first state"
    assert found["notes"] == []
    assert json.loads(json.dumps(found)) == found


def test_its_files_lie_where_they_say(lineage_root: Path) -> None:
    sample = ids(lineage_root)[4]
    files = explain(sample, lineage_root)["files"]
    assert list(files) == ["image", "attention", "label", "reliability"]
    for at in files.values():
        data = (lineage_root / at["shard"]).read_bytes()[at["offset"] :][: at["size"]]
        assert hashlib.sha256(data).hexdigest() == at["sha256"]
        assert at["intact"] is True
    shard = lineage_root / files["label"]["shard"]
    data = bytearray(shard.read_bytes())
    data[files["label"]["offset"] + 50] ^= 1
    shard.write_bytes(data)
    states = {part: at["intact"] for part, at in explain(sample, lineage_root)["files"].items()}
    assert states == {"image": True, "attention": True, "label": False, "reliability": True}


def test_parameters_are_those_that_made_it_and_changes_since_are_told(lineage_root: Path) -> None:
    change_params(lineage_root, "sample_images", guidance_scale=9.0)
    change_params(lineage_root, "adapt_lora", scale=0.5, steps=7)
    change_params(lineage_root, "train_segmenter", iterations=7)
    found = explain(ids(lineage_root)[0], lineage_root)
    assert found["parameters"]["sample_images"]["guidance_scale"] == 2.5
    assert found["adapter"]["scale"] == 1.0
    assert found["parameters_changed"] == [
        {"key": "sample_images.guidance_scale", "made_with": 2.5, "now": 9.0},
        {"key": "adapt_lora.scale", "made_with": 1.0, "now": 0.5},
    ]


@pytest.mark.parametrize("content", [b"a: [1", b"a: caf\xe9", b"seed: 2024-13-45", b"- a"])
def test_params_that_cannot_be_read_are_told(lineage_root: Path, content: bytes) -> None:
    (lineage_root / "params.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"(?s)params\.yaml: .*(line 1|must hold one mapping)"):
        explain(ids(lineage_root)[0], lineage_root)


def test_records_that_are_newer_than_the_samples_are_not_taken_for_theirs(
    lineage_root: Path,
) -> None:
    for name, digest in (("data/inputs/model", "12" * 32), ("models/lora/adapter", "34" * 32)):
        write_json(lineage_root / f"{name}.json", {"digest": digest})
    found = explain(ids(lineage_root)[0], lineage_root)
    assert found["model"]["digest"] is None  # no cache keeps it
    assert found["adapter"]["digest"] == "cd" * 32  # DVC's cache does


def test_the_run_of_each_stage(lineage_root: Path) -> None:
    outs = Revision(WORKSPACE, None, lineage_root).outs
    run = {
        "run_id": "a-run",
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T01:00:00+00:00",
        "host": "h",
        "revision": "r",
        "stages": [{"stage": "filter_masks", "outcome": "ran", "seconds": 3.0}],
        "outputs": {"data/dataset": outs["data/dataset"].md5},
    }
    (lineage_root / ".maskloom").mkdir(exist_ok=True)
    (lineage_root / ".maskloom/runs.ndjson").write_text(json.dumps(run) + "\n")
    runs = explain(ids(lineage_root)[0], lineage_root)["runs"]
    assert list(runs) == list(STAGES)
    assert runs["filter_masks"]["run_id"] == "a-run"
    assert runs["sample_images"] is None


def test_a_smaller_batch_than_was_asked_for_is_told(lineage_root: Path) -> None:
    path = lineage_root / "data/samples/index.parquet"
    wanted = explain(ids(lineage_root)[0], lineage_root)["parameters"]["sample_images"]
    rows = read_rows(path)
    for row, size in zip(rows, (wanted["batch_size"], 1, None), strict=False):
        row["batch_size"] = size
    write_table(path, rows, SAMPLES)
    found = [explain(row["sample_id"], lineage_root) for row in rows[:3]]
    assert [one["batch_size"] for one in found] == [wanted["batch_size"], 1, None]
    told = [[note for note in one["notes"] if "in a batch of 1" in note] for one in found]
    assert [len(notes) for notes in told] == [0, 1, 0]


def test_scores_of_their_own_table_are_shown(lineage_root: Path) -> None:
    import pyarrow as pa

    first = ids(lineage_root)[0]
    schema = pa.schema(
        [
            ("sample_id", pa.string()),
            ("border", pa.float32()),
            ("classes", pa.list_(pa.struct([("name", pa.string()), ("entropy", pa.float32())]))),
        ]
    )
    row = {"sample_id": first, "border": 0.5, "classes": [{"name": "dog", "entropy": 0.25}]}
    write_table(lineage_root / "data/scores/index.parquet", [row], schema)
    found = explain(first, lineage_root)
    assert found["scores"] == {"border": 0.5}
    assert found["classes"] == [{"name": "dog", "entropy": 0.25}]


def test_without_dvc_the_manifests_still_tell(lineage_root: Path) -> None:
    (lineage_root / "dvc.lock").unlink()
    found = explain(ids(lineage_root)[0], lineage_root)
    assert found["verdict"]["kept"] is True
    assert found["parameters"] == {} and found["revision"] is None
    assert found["notes"] == [
        "no dvc.lock: the stages ran without DVC, so their parameters are not recorded"
    ]


def test_a_stage_that_ran_without_dvc_is_told(lineage_root: Path) -> None:
    (lineage_root / "data/dataset/classes.json").write_text("[]")
    (note,) = explain(ids(lineage_root)[0], lineage_root)["notes"]
    assert note.startswith("data/dataset is not what dvc.lock holds")


def test_a_beginning_will_do_if_it_is_of_one_sample(lineage_root: Path) -> None:
    first = ids(lineage_root)[0]
    assert full_id(first, lineage_root) == first
    assert full_id(first[:8], lineage_root) == first
    with pytest.raises(InputError, match=f"there is none in .* near ones: {first}, "):
        full_id(f"{first[:-1]}x", lineage_root)
    index = lineage_root / "data/samples/index.parquet"
    table = read_rows(index)
    table[1]["sample_id"] = f"{first[:8]}{'0' * 8}"
    write_table(index, table, SAMPLES)
    with pytest.raises(InputError, match=f"several begin so: {first}, {first[:8]}0"):
        full_id(first[:8], lineage_root)


def test_an_exported_image_is_an_answer_to_which_sample(lineage_root: Path, tmp_path: Path) -> None:
    first = ids(lineage_root)[0]
    about = Provenance(first, "a <dog>", 1, "m", "d")
    for name, stamp in (("png", stamp_png), ("jpeg", stamp_jpeg)):
        bare, stamped = (tmp_path / f"{kind}.{name}" for kind in ("bare", "stamped"))
        Image.new("RGB", (8, 8)).save(bare)
        stamped.write_bytes(stamp(bare.read_bytes(), about))
        assert full_id(str(stamped), lineage_root) == first
        with pytest.raises(InputError, match=f"bare.{name}: says nothing of its sample"):
            full_id(str(bare), lineage_root)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InputError, match=r"text\.png: is no image that can be read"):
        full_id(str(tmp_path / "text.png"), lineage_root)


def test_no_samples_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"workspace: no dvc\.lock there, .* `dvc repro`"):
        explain("abc", tmp_path)
