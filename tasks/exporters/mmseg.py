"""The tree of MMSegmentation's own datasets: ``img_dir``, ``ann_dir``, a folder a split in each.

``dataset.json`` is a config of MMEngine with the class names and the colours of VOC.
"""

from collections.abc import Iterator
from pathlib import Path

from tasks.exporters.source import Labels, Sample, write_new
from tasks.label_maps import palette
from tasks.records import write_json

IMAGES, LABELS = "img_dir", "ann_dir"
CONFIG = "dataset.json"

OPENING = """\
`dataset.json` is a config of MMEngine: class names, colours, and a `BaseSegDataset` a split, with
paths from this folder. Reliability, if it was exported, lies in `reliability_dir`. Labels of more
than 254 classes have 16 bits, which the stock `LoadAnnotations` cuts to 8.

```python
from mmengine.config import Config
from mmseg.registry import DATASETS
from mmseg.utils import register_all_modules

register_all_modules()
dataset = DATASETS.build(Config.fromfile("dataset.json").train)
```
"""


def write(samples: Iterator[Sample], out: Path, labels: Labels) -> None:
    """Write the samples below ``out``, which is new."""
    suffixes: dict[str, str] = {}
    for sample in samples:
        write_new(out / IMAGES / sample.split / f"{sample.name}{sample.suffix}", sample.image)
        write_new(out / LABELS / sample.split / f"{sample.name}.png", sample.label)
        for kind, data in sample.maps.items():
            write_new(out / f"{kind}_dir" / sample.split / f"{sample.name}.png", data)
        suffixes[sample.split] = sample.suffix
    colours = palette(256)
    metainfo = {
        "classes": labels.names,
        "palette": [list(colours[value % 256]) for value in range(len(labels.names))],
    }
    sets = {
        split: {
            "type": "BaseSegDataset",
            "data_prefix": {"img_path": f"{IMAGES}/{split}", "seg_map_path": f"{LABELS}/{split}"},
            "img_suffix": suffix,
            "seg_map_suffix": ".png",
            "metainfo": metainfo,
            "pipeline": [],
        }
        for split, suffix in sorted(suffixes.items())
    }
    write_json(out / CONFIG, sets)
