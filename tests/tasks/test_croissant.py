import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.croissant import CONFORMS_TO, describe, software_version
from tasks.label_maps import decode
from tasks.params import InputError
from tasks.records import MASKS, read_rows, write_json, write_table
from tasks.revisions import WORKSPACE, Revision
from tasks.shards import parse_uri


def described(root: Path, **options: Any) -> dict[str, Any]:
    write_json(root / "croissant.json", describe(root / "croissant.json", root, **options))
    found: dict[str, Any] = json.loads((root / "croissant.json").read_text())
    return found


def test_every_file_has_its_digest_and_lies_where_it_says(lineage_root: Path) -> None:
    found = described(lineage_root)
    assert found["conformsTo"] == CONFORMS_TO == "http://mlcommons.org/croissant/1.1"
    files = [one for one in found["distribution"] if one["@type"] == "cr:FileObject"]
    assert sorted(one["@id"] for one in files) == [
        "data/dataset/classes.json",
        "data/dataset/index.parquet",
        *(f"data/masks/shards/{name}-0000.tar" for name in ("car", "dog")),
        *(f"data/samples/shards/{name}-0000.tar" for name in ("car", "dog")),
    ]
    for one in files:
        data = (lineage_root / one["contentUrl"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == one["sha256"]
        assert one["contentSize"] == f"{len(data)} B"


def test_paths_are_relative_to_where_it_is_written(lineage_root: Path) -> None:
    found = describe(lineage_root / "docs/croissant.json", lineage_root)
    assert found["distribution"][0]["contentUrl"] == "../data/dataset/index.parquet"


def test_a_digest_that_the_index_has_is_not_made_again(lineage_root: Path) -> None:
    path = lineage_root / "data/masks/index.parquet"
    rows = [row | {"shard_digest": "ab" * 32} for row in read_rows(path)]
    write_table(path, rows, MASKS)
    files = described(lineage_root)["distribution"]
    said = {one["name"]: one["sha256"] == "ab" * 32 for one in files if "sha256" in one}
    assert [name for name, same in said.items() if same] == [
        f"data/masks/shards/{name}-0000.tar" for name in ("car", "dog")
    ]


def test_provenance_in_provs_words(lineage_root: Path) -> None:
    found = described(lineage_root)
    assert found["@context"]["prov"] == "http://www.w3.org/ns/prov#"
    derived = {one["prov:label"]: one["@id"] for one in found["prov:wasDerivedFrom"]}
    assert derived["base model"] == f"urn:sha256:{'ab' * 32}"
    assert derived["LoRA adapter"] == f"urn:sha256:{'cd' * 32}"
    activities = {one["prov:label"]: one for one in found["prov:wasGeneratedBy"]}
    assert list(activities) == [
        "expand_prompts", "sample_images", "extract_masks", "score_masks", "filter_masks",
    ]  # fmt: skip
    used = {one["prov:label"]: one["@id"] for one in activities["score_masks"]["prov:used"]}
    outs = Revision(WORKSPACE, None, lineage_root).outs
    assert used["data/masks"] == f"urn:md5:{outs['data/masks'].md5}"
    assert found["prov:wasAttributedTo"]["prov:label"] == f"Maskloom {software_version()}"
    assert found["digitalSourceType"]["@id"].endswith("TrainedAlgorithmicMediaDigitalSource")


def test_the_same_dataset_gives_the_same_description(lineage_root: Path) -> None:
    first = described(lineage_root)
    assert described(lineage_root) == first
    assert first["version"].startswith("1.0.0+")


def test_without_a_dataset_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`dvc repro`"):
        describe(tmp_path / "croissant.json", tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_mlcroissant_finds_it_valid_and_reads_it(
    lineage_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="`make croissant` installs it")
    from mlcroissant._src.operation_graph.operations import extract

    # It keeps extracted archives by their relative paths, and would read another test's.
    monkeypatch.setattr(extract, "EXTRACT_PATH", type(extract.EXTRACT_PATH)(tmp_path / "extract"))
    described(lineage_root, license="https://creativecommons.org/publicdomain/zero/1.0/")
    dataset = mlcroissant.Dataset(str(lineage_root / "croissant.json"))
    assert not dataset.metadata.issues.errors
    assert "license" not in dataset.metadata.issues.report()
    rows = {row["sample_id"]: row for row in read_rows(lineage_root / "data/dataset/index.parquet")}
    samples = {
        row["samples/sample_id"].decode(): row["samples/text"].decode()
        for row in dataset.records("samples")
    }
    assert samples == {key: row["text"] for key, row in rows.items()}
    for record_set, kind, part in (
        ("images_of_samples", "images", "image"),
        ("labels_of_samples", "labels", "label"),
        ("reliability_of_samples", "reliability", "reliability"),
    ):
        pictures = {
            row[f"{kind}/sample_id"].decode(): np.array(row[f"{kind}/content"])
            for row in dataset.records(record_set)
        }
        assert pictures.keys() == rows.keys()
        for key, picture in pictures.items():
            member = parse_uri(rows[key][part])
            data = (lineage_root / member.path).read_bytes()[member.offset :][: member.size]
            assert np.array_equal(picture, decode(data))
    splits = [row["splits/name"] for row in dataset.records("splits")]
    assert splits == ["train", "val"]
