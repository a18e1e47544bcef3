"""What FiftyOne would open is checked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.toys.trees import check, found

FIFTYONE_DEFECTS: dict[str, tuple[Callable[[list[Any]], object], str, str]] = {
    "leads outside": (
        lambda samples: samples[0].update(filepath="/etc/passwd"),
        "samples.json: sample 0",
        "name",
    ),
    "a label that leads outside": (
        lambda samples: samples[1]["ground_truth"].update(mask_path="../../label.png"),
        "samples.json: sample 1",
        "name",
    ),
    "no such file": (
        lambda samples: samples[2]["reliability"].update(map_path="fields/reliability/x.png"),
        "samples.json: sample 2",
        "pair",
    ),
    "a name too long for a file": (
        lambda samples: samples[2]["reliability"].update(map_path="x" * 256),
        "samples.json: sample 2",
        "pair",
    ),
    "twice": (
        lambda samples: samples.append(samples[0]),
        "samples.json: sample 5",
        "pair",
    ),
    "no image": (lambda samples: samples[0].pop("filepath"), "samples.json: sample 0", "pair"),
    "no sample": (lambda samples: samples.__setitem__(0, "a"), "samples.json: sample 0", "pair"),
}


@pytest.mark.parametrize("defect", FIFTYONE_DEFECTS)
def test_what_fiftyone_would_open_is_checked(make_export: Callable[..., Path], defect: str) -> None:
    out = make_export("fiftyone")
    content = json.loads((out / "samples.json").read_text())
    change, file, rule = FIFTYONE_DEFECTS[defect]
    change(content["samples"])
    (out / "samples.json").write_text(json.dumps(content))
    assert (file, rule) in found(check(out))


def test_an_image_that_fiftyone_would_not_open_is_named(make_export: Callable[..., Path]) -> None:
    out = make_export("fiftyone")
    content = json.loads((out / "samples.json").read_text())
    gone = content["samples"].pop()["filepath"]
    (out / "samples.json").write_text(json.dumps(content))
    assert found(check(out)) == [(gone, "pair")]
    (out / "samples.json").write_text("[]")
    assert found(check(out)) == [("samples.json", "unreadable")]
