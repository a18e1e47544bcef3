"""WebDataset's tar shards, with the exported samples only and their maps beside them.

A sample's members share its name: ``.png`` or ``.jpg``, ``.label.png``, ``.reliability.png``,
``.json``. (The shards in ``data`` hold rejected samples and attention as well.)
"""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from tasks.exporters.source import Labels, Sample
from tasks.records import write_json
from tasks.shards import write_shard

SHARD_SAMPLES = 500
SHARD_BYTES = 2**27
"""A shard ends with the sample that reaches either; until then it is held in memory."""

OPENING = """\
Tar shards, `<split>-000000.tar` and so on, each with some hundred samples: `.png` (or `.jpg`),
`.label.png`, `.reliability.png`, `.json`. `classes.json` has the names by label value. WebDataset's
own image decoders make RGB of a label map and lose its values, so decode that one like this:

```python
import glob, io
import numpy as np
import webdataset as wds
from PIL import Image

def labels(key, data):
    return np.array(Image.open(io.BytesIO(data))) if key.endswith("label.png") else None

shards = sorted(glob.glob("train-*.tar"))
samples = wds.WebDataset(shards, shardshuffle=False).decode(labels, "rgb8")
```
"""


def members(sample: Sample) -> list[tuple[str, bytes]]:
    """A sample's files as name and contents."""
    row = sample.row
    about = {
        "sample_id": row["sample_id"],
        "prompt": row["text"],
        "seed": row["seed"],
        "classes": [scores["name"] for scores in row["classes"]],
        "kept": row["kept"],
        "reason": row["reason"],
    }
    files = {
        sample.suffix: sample.image,
        ".label.png": sample.label,
        **{f".{kind}.png": data for kind, data in sample.maps.items()},
        ".json": json.dumps(about, ensure_ascii=False).encode(),
    }
    return [(f"{sample.name}{suffix}", data) for suffix, data in files.items()]


def write(samples: Iterator[Sample], out: Path, labels: Labels) -> None:
    """Write the samples below ``out``, which is new."""
    write_json(out / "classes.json", labels.names)
    waiting: dict[str, list[list[tuple[str, bytes]]]] = {}
    shards: Counter[str] = Counter()

    def flush(split: str) -> None:
        files = chain.from_iterable(waiting.pop(split))
        write_shard(out / f"{split}-{shards[split]:06d}.tar", files)
        shards[split] += 1

    for sample in samples:
        held = waiting.setdefault(sample.split, [])
        held.append(members(sample))
        size = sum(len(data) for files in held for _, data in files)
        if len(held) == SHARD_SAMPLES or size >= SHARD_BYTES:
            flush(sample.split)
    for split in list(waiting):
        flush(split)
