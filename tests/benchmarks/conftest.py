from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import damaged_masks
from tasks.label_maps import encode_label


@pytest.fixture
def small_voc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four pictures in VOC's layout, read at 128x128.

    A bright disc (class 3), half of them with a blue bar (5).
    """
    monkeypatch.setattr(damaged_masks, "SIDE", 128)
    y, x = np.mgrid[:96, :120]
    names = ["2007_000004", "2007_000001", "2007_000003", "2007_000002"]
    for name in names:
        number = int(name[-1])
        image = np.full((96, 120, 3), (40, 90, 40), np.uint8)
        truth = np.zeros((96, 120), np.uint8)
        distance = np.hypot(y - 50, x - 40 - 5 * number)
        truth[distance < 30], image[distance < 30] = 255, (230, 200, 60)
        truth[distance < 28] = 3
        if number % 2:
            truth[4:20, 10:110], image[4:20, 10:110] = 5, (30, 30, 220)
        for kind, data in (("JPEGImages", image), ("SegmentationClass", truth)):
            path = tmp_path / kind / name
            path.parent.mkdir(exist_ok=True)
            if kind == "JPEGImages":
                Image.fromarray(data).save(path.with_suffix(".jpg"), quality=95)
            else:
                path.with_suffix(".png").write_bytes(encode_label(data))
    (tmp_path / "ids.txt").write_text("\n".join(names) + "\n")
    return tmp_path
