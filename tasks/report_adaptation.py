"""The report's part on the adaptation: the domain before and after, and what the losses say.

Reads ``models/lora`` and ``metrics/adaptation.json``. Imports no torch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks import records
from tasks.charts import line_chart
from tasks.digests import CACHE_PATH, DigestCache
from tasks.label_maps import decode
from tasks.params import Params
from tasks.pictures import PIXEL_ART, data_uri, is_pixel_art, thumbnail
from tasks.reference_images import base_folder, read_image

FOLDER = Path("models/lora")
REFERENCES = 8
"""Images of the domain that are shown."""
SHEETS = 24
"""Sample sheets that are shown at most."""

Row = dict[str, Any]


def cut(sheet: np.ndarray, height: int, width: int) -> list[list[np.ndarray]]:
    """A sheet ``uint8 (R height, C width, 3)`` as R rows of C samples ``(height, width, 3)``."""
    rows = np.split(sheet, sheet.shape[0] // height)
    return [np.split(row, row.shape[1] // width, axis=1) for row in rows]


def shown_steps(steps: Sequence[int], best: int, most: int = SHEETS) -> list[int]:
    """At most ``most`` of the steps: the first, the last and the best one, others evenly between.

    Args:
        steps: rising; ``best`` is one of them.
        best: the step of the adapter that is kept.
        most: three or more.
    """
    if len(steps) <= most:
        return list(steps)
    even = np.linspace(0, len(steps) - 1, most - 1).round().astype(int)
    return sorted({*(steps[at] for at in even), best})


def read_sheets(training: Row, height: int, width: int, folder: Path) -> list[Row]:
    """The sample sheets to show, in the order of their steps; the first is the base model's.

    Args:
        training: the record of a finished training, ``training.json``.
        height, width: of a sample, in pixels.
        folder: where the sheets lie.

    Returns:
        For each its ``step``, held-out ``loss``, whether it is the ``best``, and ``rows``: a
        caption and its pictures inline.
    """
    losses = dict(training["held_out"])
    best = training["best_step"]
    sheets = []
    for step in shown_steps(list(losses), best):
        samples = cut(decode((folder / f"sheet-{step:05d}.png").read_bytes()), height, width)
        rows = [
            {"caption": caption, "images": [data_uri(thumbnail(sample)) for sample in row]}
            for caption, row in zip(training["sheets"], samples, strict=True)
        ]
        sheets.append({"step": step, "loss": losses[step], "best": step == best, "rows": rows})
    return sheets


def reference_pictures(entries: Sequence[Row], images: str, root: Path) -> list[Row]:
    """The first images of the domain, small; what is gone or no longer the same is left out.

    Args:
        entries: ``name``, ``digest`` and ``caption`` of what an adapter was trained on.
        images: ``adapt_lora.images``, where the names start from.
        root: where a relative one starts from.
    """
    base, cache = base_folder(images, root), DigestCache(root / CACHE_PATH)
    found = []
    for entry in entries[:REFERENCES]:
        path = base / entry["name"]
        try:
            same = cache.file(path) == entry["digest"]
        except OSError:
            continue
        if same:
            image = read_image(path)
            found.append(
                {
                    "caption": entry["caption"],
                    "image": data_uri(thumbnail(image)),
                    "sharp": is_pixel_art(image),
                }
            )
    return found


def seen_pictures(adaptation: Row | None) -> str:
    """What the samples owe to real pictures, as a part of the report's first sentence."""
    if adaptation is None or adaptation["scale"] == 0:
        return "with no real picture and no annotation"
    if adaptation["training"] is None:
        return "with no annotation and no real picture but those behind a given adapter"
    count = len(adaptation["record"]["images"])
    return f"with no annotation and no real picture but {count:,} unlabelled ones to adapt to"


def duration(seconds: float) -> str:
    """Seconds as people say them: "51 s", "9.8 minutes"."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} minutes"


def read_adaptation(params: Params, root: Path = Path()) -> Row | None:
    """What the page shows of the adapter; None where there is none.

    Returns:
        The ``record`` of the adapter and its ``scale``; of one that was trained here also its
        ``training``, what was ``measured``, ``sheets``, ``references``, and the losses' ``chart``.
    """
    record = records.read_json(root / FOLDER / "adapter.json")
    if record["digest"] is None:
        return None
    section, sampling = params.adapt_lora, params.sample_images
    found = {"record": record, "scale": section.scale, "training": None}
    file = root / FOLDER / "training.json"
    if not file.is_file():
        return found
    training = records.read_json(file)
    losses = {"training": training["curve"], "held-out": training["held_out"]}
    return found | {
        "training": training | {"duration": duration(training["seconds"])},
        "measured": records.read_json(root / "metrics/adaptation.json"),
        "sharp": max(sampling.height, sampling.width) <= PIXEL_ART,
        "sheets": read_sheets(training, sampling.height, sampling.width, root / FOLDER / "sheets"),
        "references": reference_pictures(record["images"], section.images, root),
        "chart": line_chart(losses, "Denoising loss"),
    }
