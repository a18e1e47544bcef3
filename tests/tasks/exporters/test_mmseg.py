"""A tree of MMSegmentation, built and loaded by its registry and transforms."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import DATASETS
from mmseg.utils import register_all_modules
from PIL import Image


def open_split(out: Path, split: str) -> Any:
    register_all_modules(init_default_scope=False)
    config = Config.fromfile(out / "dataset.json")[split]
    return DATASETS.build({**config, "type": f"mmseg.{config['type']}", "data_root": str(out)})


@pytest.mark.parametrize("kind", ["plain", "hostile", "many_classes", "no_background"])
def test_pixels_and_labels_come_back(
    exported: Callable[..., Any], request: pytest.FixtureRequest, kind: str
) -> None:
    dataset = {} if kind == "plain" else request.getfixturevalue(kind)
    export = exported("mmseg", dataset, rejected=True)
    for split in ("train", "val", "rejected"):
        opened = open_split(export.out, split)
        if dataset:
            assert tuple(opened.metainfo["classes"]) == dataset["names"]
        found = [opened.get_data_info(i) for i in range(len(opened))]
        for key, original in (("img_path", "image"), ("seg_map_path", "label")):
            arrays = {Path(one[key]).stem: np.array(Image.open(one[key])) for one in found}
            export.assert_same(original, split, arrays)


def test_its_loader_reads_the_labels_with_what_is_ignored(exported: Callable[..., Any]) -> None:
    export = exported("mmseg")
    opened = open_split(export.out, "train")
    load = LoadAnnotations()
    for i in range(len(opened)):
        info = opened.get_data_info(i)
        expected = export.originals("label", "train")[Path(info["img_path"]).stem]
        found = load(info)["gt_seg_map"]
        np.testing.assert_array_equal(found, expected)
        assert 255 in found
