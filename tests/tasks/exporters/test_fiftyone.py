"""FiftyOne's form on disk, checked by what its importer reads; FiftyOne itself needs MongoDB.

What is asserted was read in ``FiftyOneDatasetImporter`` of FiftyOne 1.22.
"""

import json
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

FIELD_KEYS = {"name", "ftype", "embedded_doc_type", "subfield", "fields", "db_field"}


@pytest.mark.parametrize("kind", ["plain", "hostile", "many_classes", "no_background"])
def test_pixels_and_labels_come_back_as_its_reader_sees_them(
    exported: Callable[..., Any], request: pytest.FixtureRequest, kind: str
) -> None:
    dataset = {} if kind == "plain" else request.getfixturevalue(kind)
    export = exported("fiftyone", dataset, rejected=True)
    samples = json.loads((export.out / "samples.json").read_text())["samples"]
    for split in ("train", "val", "rejected"):
        own = [one for one in samples if one["tags"] == [split]]
        paths = {one["filepath"].removeprefix("data/")[:-4]: one for one in own}
        images = {n: np.array(Image.open(export.out / s["filepath"])) for n, s in paths.items()}
        export.assert_same("image", split, images)
        for field, key, original in (
            ("ground_truth", "mask_path", "label"),
            ("reliability", "map_path", "reliability"),
        ):
            masks = {}
            for name, one in paths.items():
                assert one[field][key] == f"fields/{field}/{name}.png"
                file = export.out / one[field][key]
                masks[name] = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
            export.assert_same(original, split, masks)


def test_documents_are_those_of_its_importer(
    exported: Callable[..., Any], hostile: dict[str, Any]
) -> None:
    out = exported("fiftyone", hostile).out
    metadata = json.loads((out / "metadata.json").read_text())
    assert metadata["version"] == "1.0.0"  # an importer of 1.x takes that over
    assert metadata["media_type"] == "image"
    targets = metadata["mask_targets"]["ground_truth"]
    assert targets == {str(v): n for v, n in enumerate(hostile["names"])} | {"255": "ignore"}
    fields = {field["name"]: field for field in metadata["sample_fields"]}
    assert all(field.keys() >= FIELD_KEYS for field in fields.values())
    assert fields["id"]["db_field"] == "_id"
    assert fields["ground_truth"]["embedded_doc_type"] == "fiftyone.core.labels.Segmentation"
    assert fields["reliability"]["embedded_doc_type"] == "fiftyone.core.labels.Heatmap"
    samples = json.loads((out / "samples.json").read_text())["samples"]
    ids = {one["_id"]["$oid"] for one in samples}
    assert len(ids) == len(samples) == 5
    assert all(len(key) == 24 and int(key, 16) >= 0 for key in ids)
    for sample in samples:
        assert fields.keys() - {"id", "created_at", "last_modified_at"} <= sample.keys()
        assert sample["ground_truth"]["_cls"] == "Segmentation"
        assert sample["prompt"] == hostile["prompt"]
    assert [one["maskloom_id"] for one in samples] == list(hostile["ids"][:5])
