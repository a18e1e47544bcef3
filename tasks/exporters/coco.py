"""COCO's instance format, masks as run lengths (RLE).

One annotation a class and image, as in COCO-Stuff: attention tells classes apart, not two dogs that
touch, so a connected part would not be an object either. The background has no annotation, as
always in COCO. Ignored pixels are one annotation more, ``iscrowd: 1`` and of the category "ignore":
what evaluation passes over. So the label map can be made again from the annotations.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from pycocotools import mask as coco_mask

from tasks.exporters.source import Labels, Sample, write_new
from tasks.label_maps import decode

ANNOTATIONS = "annotations"
IGNORE_NAME = "ignore"

OPENING = """\
Images lie in a folder a split, annotations in `annotations/instances_<split>.json`: one a class
and image, as in COCO-Stuff, the mask as compressed RLE. A category's id is its label value, one
more where value 0 is a class. The background has no annotation; ignored pixels have one with
`iscrowd: 1` and a category of their own, the last. Prompt and seed stand with each image.

```python
from pycocotools.coco import COCO

coco = COCO("annotations/instances_train.json")
mask = coco.annToMask(coco.loadAnns(coco.getAnnIds(imgIds=1))[0])
```
"""


def category_id(value: int, labels: Labels) -> int:
    """The id of a label value's category; COCO's begin with 1."""
    return value + 1 - labels.first_class


def categories(labels: Labels) -> list[dict[str, Any]]:
    """All classes but the background, and what is ignored."""
    values = range(labels.first_class, len(labels.names))
    named = [(value, labels.names[value], "class") for value in values]
    return [
        {"id": category_id(value, labels), "name": name, "supercategory": kind}
        for value, name, kind in [*named, (labels.ignore, IGNORE_NAME, IGNORE_NAME)]
    ]


def annotations(label: np.ndarray, image: int, labels: Labels) -> Iterator[dict[str, Any]]:
    """The annotations of a label map ``(H, W)``, but for their ids.

    Args:
        label: label values.
        image: its id.
        labels: what the values mean.
    """
    for value in map(int, np.unique(label)):
        if value < labels.first_class:
            continue
        run_lengths = coco_mask.encode(np.asfortranarray(label == value, dtype=np.uint8))
        yield {
            "image_id": image,
            "category_id": category_id(value, labels),
            "iscrowd": int(value == labels.ignore),
            "area": int(coco_mask.area(run_lengths)),
            "bbox": [float(side) for side in coco_mask.toBbox(run_lengths)],
            "segmentation": {
                "size": list(label.shape),
                "counts": run_lengths["counts"].decode("ascii"),
            },
        }


class _Split:
    """The annotation file of a split, written as samples come; ids begin with 1."""

    def __init__(self, path: Path, labels: Labels) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.labels = path, labels
        self.images = self.annotations = 0
        # Annotations wait in a file of their own until all images are listed.
        self.waiting_path = path.with_suffix(".annotations")
        self.file: IO[str] = path.open("w", encoding="utf-8")
        self.waiting: IO[str] = self.waiting_path.open("w", encoding="utf-8")
        self.file.write('{"info": {"description": "made by Maskloom"}, "licenses": [],\n')
        self.file.write(f'"categories": {json.dumps(categories(labels))},\n"images": [')

    def add(self, sample: Sample, file_name: str) -> None:
        """List an image and its annotations."""
        label = decode(sample.label)
        self.images += 1
        row = sample.row
        image = {
            "id": self.images,
            "file_name": file_name,
            "width": label.shape[1],
            "height": label.shape[0],
            "sample_id": row["sample_id"],
            "prompt": row["text"],
            "seed": row["seed"],
        }
        self.file.write((",\n" if self.images > 1 else "\n") + json.dumps(image))
        for one in annotations(label, self.images, self.labels):
            self.annotations += 1
            line = json.dumps({"id": self.annotations, **one})
            self.waiting.write((",\n" if self.annotations > 1 else "\n") + line)

    def close(self) -> None:
        """Put both parts together."""
        self.waiting.close()
        self.file.write('],\n"annotations": [')
        with self.waiting_path.open(encoding="utf-8") as waiting:
            while part := waiting.read(2**20):
                self.file.write(part)
        self.file.write("]}\n")
        self.file.close()
        self.waiting_path.unlink()


def write(samples: Iterator[Sample], out: Path, labels: Labels) -> None:
    """Write the samples below ``out``, which is new."""
    splits: dict[str, _Split] = {}
    for sample in samples:
        if sample.split not in splits:
            path = out / ANNOTATIONS / f"instances_{sample.split}.json"
            splits[sample.split] = _Split(path, labels)
        file_name = f"{sample.name}{sample.suffix}"
        write_new(out / sample.split / file_name, sample.image)
        for kind, data in sample.maps.items():
            write_new(out / kind / sample.split / f"{sample.name}.png", data)
        splits[sample.split].add(sample, file_name)
    for split in splits.values():
        split.close()
