from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from benchmarks.lineage_state import commit, record
from tasks.dataset_diff import compare
from tasks.params import InputError
from tasks.records import read_json, read_rows, write_json
from tasks.revisions import open_revision

DATASET = "data/dataset/index.parquet"
MASKS = "data/masks/index.parquet"
SAMPLES = "data/samples/index.parquet"


def rewrite(path: Path, change, names: tuple[str, ...] = ()) -> None:
    """Change a table's rows, or drop columns; its schema stays."""
    schema = parquet.read_schema(path)
    rows = change(read_rows(path))
    table = pa.Table.from_pylist(rows, schema=schema).drop(list(names))
    parquet.write_table(table, path)


def test_two_equal_revisions_differ_in_nothing(lineage_root: Path) -> None:
    head = open_revision("HEAD", lineage_root)
    for other in ("HEAD", "workspace"):
        found = compare(head, open_revision(other, lineage_root))
        assert found["parameters"] == found["code"] == found["metrics"] == []
        samples = dict(found["samples"])
        assert samples.pop("examples") == {"added": [], "removed": [], "changed": []}
        assert (samples.pop("before"), samples.pop("after")) == (6, 6)
        assert set(samples.values()) == {0}
        assert found["classes"] == [
            {"class": "car", "before": 2, "after": 2},
            {"class": "dog", "before": 3, "after": 3},
        ]


def test_parameters_code_and_metrics(lineage_root: Path) -> None:
    params = yaml.safe_load((lineage_root / "params.yaml").read_text())
    params["filter_masks"]["min_area"] = 0.5
    params["sample_images"]["capture"]["steps"] = ["all"]
    (lineage_root / "params.yaml").write_text(yaml.safe_dump(params))
    (lineage_root / "tasks/filter_masks.py").write_text("# other\n")
    (lineage_root / "tasks/shards.py").write_text("# new\n")
    (lineage_root / "tasks/sample_images.py").unlink()
    metrics = read_json(lineage_root / "metrics/filter.json")
    write_json(lineage_root / "metrics/filter.json", {**metrics, "kept": 4, "curve": [1, 2]})
    record(lineage_root)
    commit(lineage_root, "second")
    found = compare(open_revision("HEAD~1", lineage_root), open_revision("HEAD", lineage_root))
    assert {one["key"]: (one["before"], one["after"]) for one in found["parameters"]} == {
        "filter_masks.min_area": (0.04, 0.5),
        "sample_images.capture.steps": (["middle"], ["all"]),
    }
    code = {one["path"]: (one["change"], one["stages"]) for one in found["code"]}
    assert code["tasks/filter_masks.py"] == ("changed", ["filter_masks"])
    assert code["tasks/shards.py"][0] == "added" and "sample_images" in code["tasks/shards.py"][1]
    assert code["tasks/sample_images.py"] == ("removed", ["sample_images"])
    assert found["metrics"] == [{"key": "filter.kept", "before": 5, "after": 4}]
    assert found["samples"]["changed"] == 0


def test_samples_that_came_went_and_changed(lineage_root: Path) -> None:
    """Sample 0 goes, one comes; 2 has another image, 3 another label; 1 and 4 change places."""
    order = [row["sample_id"] for row in read_rows(lineage_root / SAMPLES)]

    def samples(rows: list[dict]) -> list[dict]:
        new = {**rows[0], "sample_id": "new", "prompt_id": "new prompt"}
        rows[2] |= {"image_crc32": 1, "sample_id": "other 2"}
        return [*reversed(rows[1:]), new]  # in another order: only prompts join

    def masks(rows: list[dict]) -> list[dict]:
        new = {**rows[0], "sample_id": "new"}
        rows[2]["sample_id"] = "other 2"
        rows[3]["label_crc32"] = 1
        return [*rows[1:], new]

    def dataset(rows: list[dict]) -> list[dict]:
        new = {**rows[0], "sample_id": "new", "prompt_id": "new prompt"}
        rows[2]["sample_id"] = "other 2"
        rows[1] |= {"kept": True, "reason": "", "split": "train"}
        rows[4] |= {"kept": False, "reason": "car: why", "split": ""}
        return [*rows[1:], new]

    for path, change in ((SAMPLES, samples), (MASKS, masks), (DATASET, dataset)):
        rewrite(lineage_root / path, change)
    record(lineage_root)
    commit(lineage_root, "second")
    found = compare(open_revision("HEAD~1", lineage_root), open_revision("HEAD", lineage_root))
    samples_found = dict(found["samples"])
    examples = samples_found.pop("examples")
    assert samples_found == {
        "before": 6,
        "after": 6,
        "added": 1,
        "removed": 1,
        "changed": 4,
        "changed_images": 1,
        "changed_labels": 1,
        "changed_verdicts": 2,
        "now_kept": 1,
        "now_rejected": 1,
    }
    assert [one["sample_id"] for one in examples["added"]] == ["new"]
    assert [one["sample_id"] for one in examples["removed"]] == [order[0]]
    by_sample = {one["before"]["sample_id"]: one for one in examples["changed"]}
    assert {key: one["what"] for key, one in by_sample.items()} == {
        order[1]: ["verdict"],
        order[2]: ["image"],
        order[3]: ["label"],
        order[4]: ["verdict"],
    }
    assert by_sample[order[2]]["after"]["sample_id"] == "other 2"
    assert by_sample[order[4]]["after"]["reason"] == "car: why"
    # Sample 0, a dog, went; the new one is a dog; 1, a dog, is kept now; 4, a car, no longer.
    assert found["classes"] == [
        {"class": "car", "before": 2, "after": 1},
        {"class": "dog", "before": 3, "after": 4},
    ]
    few = compare(open_revision("HEAD~1", lineage_root), open_revision("HEAD", lineage_root), 2)
    assert few["samples"]["changed"] == 4 and len(few["samples"]["examples"]["changed"]) == 2


def test_manifests_without_digests_are_compared_by_size(lineage_root: Path) -> None:
    def larger(rows: list[dict]) -> list[dict]:
        rows[0]["image_size"] += 1
        return rows

    rewrite(lineage_root / SAMPLES, larger, ("image_crc32", "attention_crc32"))
    found = compare(open_revision("HEAD", lineage_root), open_revision("workspace", lineage_root))
    assert found["samples"]["changed_images"] == found["samples"]["changed"] == 1


def test_a_sample_without_a_mask_is_no_change(lineage_root: Path) -> None:
    rewrite(lineage_root / MASKS, lambda rows: rows[1:])
    rewrite(lineage_root / DATASET, lambda rows: rows[1:])
    found = compare(open_revision("HEAD", lineage_root), open_revision("workspace", lineage_root))
    assert found["samples"]["changed"] == 0
    assert found["classes"][1] == {"class": "dog", "before": 3, "after": 2}


def test_what_the_cache_lacks_is_told(lineage_root: Path) -> None:
    head = open_revision("HEAD", lineage_root)
    head.file(DATASET).unlink()
    said = r"dataset/index\.parquet is not on this machine; .*else name a run of `python -m flows"
    with pytest.raises(InputError, match=said):
        compare(head, open_revision("workspace", lineage_root))


def test_another_score_under_the_same_rule_is_no_other_verdict(lineage_root: Path) -> None:
    def scores(rows: list[dict]) -> list[dict]:
        assert rows[1]["rule"] == "min_area"
        rows[1] |= {"reason": "dog: area 0.011 below min_area 0.04", "value": 0.011}
        return rows

    rewrite(lineage_root / DATASET, scores)
    head, here = (open_revision(name, lineage_root) for name in ("HEAD", "workspace"))
    assert compare(head, here)["samples"]["changed"] == 0
    rewrite(lineage_root / DATASET, lambda rows: rows, names=("rule",))  # as it once was
    assert compare(head, here)["samples"]["changed_verdicts"] == 1
