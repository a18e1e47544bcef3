from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storybook.vocabulary import STREET_CLASSES
from tasks import records, render_storybook
from tasks.params import Params, load_params

ROOT = Path(__file__).parents[2]


def params(domain: str) -> Params:
    whole = load_params(ROOT / "presets/storybook.yaml")
    section = whole.render_storybook.model_copy(
        update={"domain": domain, "train": 4, "val": 2, "test": 3}
    )
    return whole.model_copy(update={"render_storybook": section})


def test_seeds_of_the_sets_never_meet() -> None:
    seeds = {
        tuple(render_storybook.scene_seed(domain, part, 7, i))
        for domain in ("page", "street")
        for part in ("train", "val", "test")
        for i in range(50)
    }
    assert len(seeds) == 300


@pytest.mark.parametrize(("domain", "values"), [("page", range(9)), ("street", range(6))])
def test_sets_are_written_with_labels_and_made_again_alike(
    tmp_path: Path, domain: str, values: range
) -> None:
    render_storybook.run(params(domain), tmp_path)
    out = tmp_path / "data/storybook"
    assert len(list(out.glob("*/images/*.png"))) == 9
    label = np.array(Image.open(out / "test/labels/00002.png"))
    assert label.shape == (64, 64) and set(np.unique(label)) <= set(values)
    assert len(records.read_json(out / "classes.json")) == len(values)
    rows = records.read_rows(out / "manifest.parquet")
    assert [row["set"] for row in rows].count("train") == 4
    captions = records.read_json(out / "test/captions.json")
    assert sorted(captions) == ["00000.png", "00001.png", "00002.png"]
    names = records.read_json(out / "classes.json")
    for file, shown in captions.items():
        values = np.array(Image.open(out / "test/labels" / file))
        counted = {names[v] for v in range(len(names)) if (values == v).sum() > 0.01 * 64 * 64}
        assert set(shown) == counted - {"background"}
        assert shown == sorted(shown, key=names.index) != []
    first = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    render_storybook.run(params(domain), tmp_path)
    assert first == {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_street_classes_by_label_value(tmp_path: Path) -> None:
    render_storybook.run(params("street"), tmp_path)
    names = records.read_json(tmp_path / "data/storybook/classes.json")
    assert names == list(STREET_CLASSES)


def test_none_renders_nothing(tmp_path: Path) -> None:
    render_storybook.run(params("none"), tmp_path)
    assert [p.name for p in (tmp_path / "data/storybook").iterdir()] == ["manifest.parquet"]
