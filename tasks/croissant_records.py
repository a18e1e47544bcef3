"""Record sets of a Croissant description: splits, classes, samples, and the files of samples."""

from collections.abc import Iterator
from typing import Any

from tasks.provenance import DATASET, MASKS, SAMPLES

Json = dict[str, Any]

FILES = {
    "images": (SAMPLES, "*.png", "The images."),
    "labels": (MASKS, "*.label.png", "Label maps: a pixel's value is its class, see `classes`."),
    "reliability": (MASKS, "*.reliability.png", "How far each pixel's label is to be trusted."),
}
"""File set -> the index of its shards, the names in them, what they are."""
_COLUMNS = {
    "sample_id": ("sc:Text", "A hash of all that the image is made from."),
    "prompt_id": ("sc:Text", "A hash of prompt, class words and seed."),
    "text": ("sc:Text", "The prompt."),
    "kept": ("sc:Boolean", "Whether the sample passed every filter."),
    "reason": ("sc:Text", "Why it was rejected; empty where it was kept."),
    "image": ("sc:Text", "Where the image lies: shard, offset, size."),
    "label": ("sc:Text", "Where the label map lies."),
    "reliability": ("sc:Text", "Where the reliability lies."),
}
"""Column of the dataset's index -> data type and meaning."""


def record_sets(classes: list[str], columns: list[str]) -> Iterator[Json]:
    """All record sets of a dataset.

    Args:
        classes: names by label value.
        columns: of the dataset's index.
    """
    yield {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [
            _field("splits/name", "sc:Text", "A split; rejected samples have none."),
            _field("splits/url", "sc:URL", "What it is for."),
        ],
        "data": [
            {"splits/name": "train", "splits/url": "cr:TrainingSplit"},
            {"splits/name": "val", "splits/url": "cr:ValidationSplit"},
        ],
    }
    yield {
        "@type": "cr:RecordSet",
        "@id": "classes",
        "name": "classes",
        "dataType": "sc:Enumeration",
        "key": {"@id": "classes/value"},
        "field": [
            _field("classes/value", "sc:Integer", "The value of its pixels in label maps."),
            _field("classes/name", "sc:Text", "Its name."),
        ],
        "data": [
            {"classes/value": value, "classes/name": name} for value, name in enumerate(classes)
        ],
    }
    fields = [
        _field(f"samples/{name}", kind, meaning, {"fileObject": {"@id": DATASET}}, column=name)
        for name, (kind, meaning) in _COLUMNS.items()
        if name in columns
    ]
    split = _field(
        *("samples/split", "sc:Text", "train, val, or empty where it was rejected."),
        {"fileObject": {"@id": DATASET}},
        column="split",
    )
    yield {
        "@type": "cr:RecordSet",
        "@id": "samples",
        "name": "samples",
        "description": "A row a sample, kept or rejected.",
        "key": {"@id": "samples/sample_id"},
        "field": [*fields, {**split, "references": {"field": {"@id": "splits/name"}}}],
    }
    for name, (_, _, meaning) in FILES.items():
        source = {"fileSet": {"@id": name}}
        content = (
            "sc:ImageObject" if name != "labels" else ["cr:SegmentationMask", "sc:ImageObject"]
        )
        identity = _field(
            f"{name}/sample_id", "sc:Text", "The id in `samples`.", source, file="filename"
        )
        # No `references`: mlcroissant 1.1.1 cannot join files with a parquet table.
        identity["source"]["transform"] = {"regex": r"([^\/.]+)\.[^\/]*png$"}
        yield {
            "@type": "cr:RecordSet",
            "@id": f"{name}_of_samples",
            "name": f"{name}_of_samples",
            "description": meaning,
            "key": {"@id": f"{name}/sample_id"},
            "field": [
                identity,
                _field(f"{name}/content", content, meaning, source, file="content"),
            ],
        }


def _field(
    identity: str,
    kind: str | list[str],
    meaning: str,
    source: Json | None = None,
    *,
    column: str | None = None,
    file: str | None = None,
) -> Json:
    field: Json = {
        "@type": "cr:Field",
        "@id": identity,
        "name": identity.rpartition("/")[2],
        "description": meaning,
        "dataType": kind,
    }
    if source is not None:
        extract = {"column": column} if column else {"fileProperty": file}
        field["source"] = {**source, "extract": extract}
    return field
