"""Hugging Face's form: Parquet with pictures inside, opened by ``datasets.load_dataset(folder)``.

Pictures are ``Image`` features, declared in the schema's metadata; label maps come back as they
are, palette indices or 16 bits. A row group holds some samples and a file some hundred megabytes.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from tasks.exporters.source import Labels, Sample

ROW_GROUP = 50
"""Samples; small, as a reader takes a group at a time."""
FILE_BYTES = 2**28
"""Of pictures, after which the next file begins."""
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

OPENING = """\
```python
import os
from datasets import load_dataset

sample = load_dataset(os.getcwd(), split="train")[0]  # in this folder
sample["image"], sample["label"]  # PIL images; numpy.array(sample["label"]) has the label values
```

`classes` holds the label values of what the sample was made for, and its feature the class names.
The sets load without code of their own (`trust_remote_code` is not needed).
"""


def schema(labels: Labels, maps: list[str]) -> pa.Schema:
    """The columns, and the features that ``datasets`` reads them as."""
    pictures = ["image", "label", *maps]
    texts = ["sample_id", "prompt", "reason"]
    # A name that stands twice, such as for values without a class, would be refused.
    names = [
        name if labels.names.index(name) == value else f"{name} ({value})"
        for value, name in enumerate(labels.names)
    ]
    features: dict[str, Any] = {name: {"_type": "Image"} for name in pictures}
    features |= {name: {"dtype": "string", "_type": "Value"} for name in texts}
    features["seed"] = {"dtype": "int64", "_type": "Value"}
    features["kept"] = {"dtype": "bool", "_type": "Value"}
    features["classes"] = {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "List"}
    fields = [
        *((name, PICTURE) for name in pictures),
        *((name, pa.string()) for name in texts),
        ("seed", pa.int64()),
        ("kept", pa.bool_()),
        ("classes", pa.list_(pa.int64())),
    ]
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema(fields, metadata=metadata)


def card(splits: list[str]) -> dict[str, Any]:
    """The head of the dataset card: which files are which split."""
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in splits]
    return {
        "configs": [{"config_name": "default", "data_files": files}],
        "task_categories": ["image-segmentation"],
        "tags": ["synthetic"],
    }


class _Split:
    """The files of a split, written as samples come."""

    def __init__(self, out: Path, name: str, columns: pa.Schema) -> None:
        self.out, self.name, self.columns = out, name, columns
        self.rows: list[dict[str, Any]] = []
        self.files = self.bytes = 0
        self.writer: parquet.ParquetWriter | None = None

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if len(self.rows) == ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait, as a row group."""
        if not self.rows:
            return
        if self.writer is None:
            path = self.out / f"{self.name}-{self.files:05d}.parquet"
            # PNG and JPEG are compressed already.
            self.writer = parquet.ParquetWriter(path, self.columns, compression="none")
            self.files += 1
        table = pa.Table.from_pylist(self.rows, schema=self.columns)
        self.writer.write_table(table)
        self.rows = []
        self.bytes += table.nbytes
        if self.bytes > FILE_BYTES:
            self.close()

    def close(self) -> None:
        self.flush()
        if self.writer is not None:
            self.writer.close()
        self.writer, self.bytes = None, 0


def write(samples: Iterator[Sample], out: Path, labels: Labels) -> None:
    """Write the samples below ``out``, which is new."""
    folder = out / "data"
    folder.mkdir(parents=True)
    value_of = {name: value for value, name in reversed(list(enumerate(labels.names)))}
    splits: dict[str, _Split] = {}
    for sample in samples:
        if sample.split not in splits:
            columns = schema(labels, list(sample.maps))
            splits[sample.split] = _Split(folder, sample.split, columns)
        row = sample.row
        pictures = {"image": (sample.image, sample.suffix), "label": (sample.label, ".png")}
        pictures |= {kind: (data, ".png") for kind, data in sample.maps.items()}
        splits[sample.split].add(
            {
                **{
                    name: {"bytes": data, "path": f"{sample.name}{suffix}"}
                    for name, (data, suffix) in pictures.items()
                },
                "sample_id": row["sample_id"],
                "prompt": row["text"],
                "reason": row["reason"],
                "seed": row["seed"],
                "kept": row["kept"],
                "classes": [value_of[scores["name"]] for scores in row["classes"]],
            }
        )
    for split in splits.values():
        split.close()
