"""The judge's labels in place of the dataset's."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.label_limit import judge_labels
from tasks.label_maps import decode, encode_image, encode_label
from tasks.records import DATASET, read_rows, write_table
from tasks.shards import parse_uri, write_shard


class Thresholds(torch.nn.Module):
    """Sees class 1 in the left half of every picture and class 2 in the right half."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(images), 3, *images.shape[2:])
        middle = images.shape[3] // 2
        logits[:, 1, :, :middle], logits[:, 2, :, middle:] = 1, 1
        return logits


def test_the_judge_labels_what_the_prompt_named_in_the_kept_samples(tmp_path: Path) -> None:
    image, label = np.zeros((4, 8, 3), np.uint8), np.zeros((4, 8), np.uint8)
    label[:, :2] = 1
    files = [("a.png", encode_image(image)), ("a.label.png", encode_label(label))]
    members = write_shard(tmp_path / "data/s.tar", files)
    uris = [m.uri.replace(str(tmp_path) + "/", "") for m in members]
    rows = [
        {
            "sample_id": name,
            "kept": name != "out",
            "classes": [{"name": each, "area": 0.5, "peak": 1, "margin": 1} for each in classes],
            "image": uris[0],
            "label": uris[1],
        }
        for name, classes in (("one", ["red"]), ("out", ["red"]), ("both", ["red", "blue"]))
    ]
    write_table(tmp_path / "data/dataset/index.parquet", rows, DATASET)
    agreement = judge_labels(tmp_path, Thresholds(), {"red": 1, "blue": 2})
    kept = read_rows(tmp_path / "data/dataset/index.parquet")
    assert [row["sample_id"] for row in kept] == ["one", "both"]
    seen = []
    for row in kept:
        member = parse_uri(row["label"])
        data = (tmp_path / member.path).read_bytes()[member.offset :][: member.size]
        seen.append(decode(data)[0].tolist())
    assert seen == [[1] * 4 + [0] * 4, [1] * 4 + [2] * 4]
    # background 16 of 48, red 16 of 32, blue 0 of 16
    assert agreement == pytest.approx((16 / 48 + 16 / 32 + 0) / 3)
