"""PASCAL VOC's tree, as its development kit lays it out.

``JPEGImages``, ``SegmentationClass`` (palette PNG; 16-bit grey where there are more than 254
classes, which VOC has no form for), ``ImageSets/Segmentation/*.txt`` and, what VOC has not,
``classes.txt``, the names by label value, ``Reliability`` and ``Uncertainty``.
"""

from collections.abc import Iterator
from pathlib import Path

from tasks.exporters.source import REJECTED, Labels, Sample, write_new

IMAGES, LABELS, SETS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"

OPENING = """\
The tree is that of PASCAL VOC's `VOC2012` folder. `ImageSets/Segmentation` lists the names of
`train`, `val` and `trainval`; `classes.txt` has a class a line, by label value. Some readers of VOC
take `.jpg` for granted: tell them the suffix, or export with `--jpeg`.

```python
from mmseg.datasets import BaseSegDataset

dataset = BaseSegDataset(
    data_root=".",
    data_prefix={"img_path": "JPEGImages", "seg_map_path": "SegmentationClass"},
    ann_file="ImageSets/Segmentation/train.txt",
    img_suffix=".png",
    metainfo={"classes": open("classes.txt").read().splitlines()},
)
```
"""


def one_line(name: str) -> str:
    """A class name for a file that has one a line."""
    return " ".join("".join(c if c.isprintable() else " " for c in name).split()) or "_"


def write(samples: Iterator[Sample], out: Path, labels: Labels) -> None:
    """Write the samples below ``out``, which is new."""
    sets = out / SETS
    sets.mkdir(parents=True)
    (out / "classes.txt").write_text(
        "".join(f"{one_line(name)}\n" for name in labels.names), encoding="utf-8"
    )
    with (
        (sets / "train.txt").open("w") as train,
        (sets / "val.txt").open("w") as val,
        (sets / "trainval.txt").open("w") as both,
    ):
        listed = {"train": train, "val": val}
        for sample in samples:
            write_new(out / IMAGES / f"{sample.name}{sample.suffix}", sample.image)
            write_new(out / LABELS / f"{sample.name}.png", sample.label)
            for kind, data in sample.maps.items():
                write_new(out / kind.title() / f"{sample.name}.png", data)
            if sample.split == REJECTED:
                with (sets / f"{REJECTED}.txt").open("a") as rejected:
                    rejected.write(f"{sample.name}\n")
            else:
                listed[sample.split].write(f"{sample.name}\n")
                both.write(f"{sample.name}\n")
