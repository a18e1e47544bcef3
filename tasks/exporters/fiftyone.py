"""FiftyOne's own form on disk, ``fiftyone.types.FiftyOneDataset``.

``metadata.json`` is the dataset's document with its fields, ``samples.json`` the samples', both as
MongoDB's extended JSON; media lie in ``data`` and ``fields/<field>``. Written as FiftyOne 1.0 does,
which all of 1.x read. Label maps are grey PNG there: FiftyOne reads masks by OpenCV, which turns a
palette into colours.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.exporters.source import Labels, Sample, write_new
from tasks.label_maps import decode, encode_grey
from tasks.records import write_json

VERSION = "1.0.0"
"""Of FiftyOne, whose documents these are."""
LABEL_FIELD = "ground_truth"

OPENING = f"""\
```python
import fiftyone as fo

dataset = fo.Dataset.from_dir(dataset_dir=".", dataset_type=fo.types.FiftyOneDataset)
```

Fields: `{LABEL_FIELD}` (a `Segmentation`), `reliability` (a `Heatmap`), `prompt`, `seed`,
`classes`, `kept`, `reason`; the split is a tag. FiftyOne shows value 0 as background, also where it
is a class.
"""

_FIELDS = "fiftyone.core.fields"
_LABELS = "fiftyone.core.labels"


def field(name: str, kind: str, **changes: Any) -> dict[str, Any]:
    """The document of a sample's field.

    Args:
        name: as users see it.
        kind: class in ``fiftyone.core.fields``.
        changes: keys that differ from a plain field.
    """
    return {
        "name": name,
        "ftype": f"{_FIELDS}.{kind}",
        "embedded_doc_type": None,
        "subfield": None,
        "fields": [],
        "db_field": name,
        "description": None,
        "info": None,
        "read_only": False,
        "created_at": None,
    } | changes


def label_field(name: str, kind: str, media: str) -> dict[str, Any]:
    """The document of a field that holds a label with a file."""
    parts = [
        field("id", "ObjectIdField", db_field="_id"),
        field("tags", "ListField", subfield=f"{_FIELDS}.StringField"),
        field(media, "StringField"),
    ]
    if kind == "Heatmap":
        parts.append(field("range", "ListField", subfield=f"{_FIELDS}.FloatField"))
    return field(name, "EmbeddedDocumentField", embedded_doc_type=f"{_LABELS}.{kind}", fields=parts)


def dataset_document(labels: Labels, maps: list[str]) -> dict[str, Any]:
    """``metadata.json``."""
    strings = {"subfield": f"{_FIELDS}.StringField"}
    targets = {str(value): name for value, name in enumerate(labels.names)}
    return {
        "name": "maskloom",
        "slug": "maskloom",
        "version": VERSION,
        "media_type": "image",
        "persistent": False,
        "group_media_types": {},
        "tags": [],
        "description": None,
        "info": {},
        "app_config": {},
        "classes": {},
        "default_classes": [],
        "mask_targets": {LABEL_FIELD: targets | {str(labels.ignore): "ignore"}},
        "default_mask_targets": {},
        "skeletons": {},
        "default_skeleton": None,
        "sample_fields": [
            field("id", "ObjectIdField", db_field="_id"),
            field("filepath", "StringField"),
            field("tags", "ListField", **strings),
            field(
                "metadata",
                "EmbeddedDocumentField",
                embedded_doc_type="fiftyone.core.metadata.ImageMetadata",
            ),
            field("created_at", "DateTimeField", read_only=True),
            field("last_modified_at", "DateTimeField", read_only=True),
            label_field(LABEL_FIELD, "Segmentation", "mask_path"),
            *(label_field(kind, "Heatmap", "map_path") for kind in maps),
            field("maskloom_id", "StringField"),
            field("prompt", "StringField"),
            field("seed", "IntField"),
            field("classes", "ListField", **strings),
            field("kept", "BooleanField"),
            field("reason", "StringField"),
        ],
        "frame_fields": [],
        "saved_views": [],
        "workspaces": [],
        "annotation_runs": {},
        "brain_methods": {},
        "evaluations": {},
        "runs": {},
    }


def sample_document(sample: Sample) -> dict[str, Any]:
    """A sample in ``samples.json``."""
    row = sample.row
    labels: dict[str, Any] = {
        LABEL_FIELD: {
            "_id": _object_id(sample.name, LABEL_FIELD),
            "_cls": "Segmentation",
            "tags": [],
            "mask_path": f"fields/{LABEL_FIELD}/{sample.name}.png",
        }
    }
    for kind in sample.maps:
        labels[kind] = {
            "_id": _object_id(sample.name, kind),
            "_cls": "Heatmap",
            "tags": [],
            "map_path": f"fields/{kind}/{sample.name}.png",
            "range": [0.0, 255.0],
        }
    return {
        "_id": _object_id(sample.name, ""),
        "_media_type": "image",
        "_rand": int(_digest(sample.name, "random")[:8], 16) / 2**32,
        "filepath": f"data/{sample.name}{sample.suffix}",
        "tags": [sample.split],
        "metadata": None,
        **labels,
        "maskloom_id": row["sample_id"],
        "prompt": row["text"],
        "seed": row["seed"],
        "classes": [scores["name"] for scores in row["classes"]],
        "kept": row["kept"],
        "reason": row["reason"],
    }


def write(samples: Iterator[Sample], out: Path, labels: Labels) -> None:
    """Write the samples below ``out``, which is new."""
    out.mkdir(parents=True, exist_ok=True)
    maps: list[str] = []
    with (out / "samples.json").open("w", encoding="utf-8") as file:
        file.write('{"samples": [')
        for number, sample in enumerate(samples):
            maps = list(sample.maps)
            label = decode(sample.label)
            grey = encode_grey(label) if label.dtype == "uint8" else sample.label
            write_new(out / "data" / f"{sample.name}{sample.suffix}", sample.image)
            write_new(out / "fields" / LABEL_FIELD / f"{sample.name}.png", grey)
            for kind, data in sample.maps.items():
                write_new(out / "fields" / kind / f"{sample.name}.png", data)
            file.write((",\n" if number else "\n") + json.dumps(sample_document(sample)))
        file.write("]}\n")
    write_json(out / "metadata.json", dataset_document(labels, maps))


def _digest(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()


def _object_id(*parts: str) -> dict[str, str]:
    """An id for MongoDB, the same for the same sample."""
    return {"$oid": _digest(*parts)[:24]}
