from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks import records
from tasks.params import Params, SampleImages, load_params
from tasks.prompts import expand
from tasks.sample_images import (
    load_pipeline,
    plan_shards,
    sample_batch,
    sample_id,
    slug,
)

ROOT = Path(__file__).parents[2]


def params(**changes: object) -> SampleImages:
    whole: Params = load_params(ROOT / "presets/storybook.yaml")
    values = whole.sample_images.model_dump() | {
        "model": str(ROOT / "models/storybook-sd"),
        "num_inference_steps": 3,
        "dtype": "float32",
        "device": "cpu",
    }
    return SampleImages.model_validate(values | changes)


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    section = load_params(ROOT / "presets/storybook.yaml").expand_prompts
    section = section.model_copy(update={"images_per_class": 2, "several_share": 1.0})
    return list(islice(expand(section), 2, 7))  # the first class stands beside none in its rows


def test_file_names_keep_class_names_apart() -> None:
    assert slug("car") == "car"
    assert slug("Traffic Light") != slug("traffic/light")
    assert slug("../etc").startswith("etc-")


def test_shards_are_filled_per_class_and_grow_at_the_end() -> None:
    def row(name: str, number: int) -> dict:
        return {"classes": [{"name": name}], "number": number}

    rows = [row("car", 0), row("dog", 1), row("car", 2), row("car", 3)]
    assert [(n, [r["number"] for r in m]) for n, m in plan_shards(rows, 2)] == [
        ("car-0000.tar", [0, 2]),
        ("car-0001.tar", [3]),
        ("dog-0000.tar", [1]),
    ]
    grown = dict(plan_shards([*rows, row("car", 4), row("car", 5)], 2))
    assert [r["number"] for r in grown["car-0000.tar"]] == [0, 2]


def test_identity_holds_what_made_the_sample(rows: list[dict]) -> None:
    base = sample_id(rows[0], params(), "m", None, "cpu")
    assert base == sample_id(rows[0], params(batch_size=1, shard_size=3), "m", None, "cpu")
    others = {
        sample_id(rows[1], params(), "m", None, "cpu"),
        sample_id(rows[0], params(guidance_scale=2.0), "m", None, "cpu"),
        sample_id(rows[0], params(attention_step=0), "m", None, "cpu"),
        sample_id(rows[0], params(dtype="bfloat16"), "m", None, "cpu"),
        sample_id(rows[0], params(), "n", None, "cpu"),
        sample_id(rows[0], params(), "m", "adapter", "cpu"),
        sample_id(rows[0], params(), "m", None, "cuda"),
    }
    assert len(others | {base}) == 8


def test_a_sample_does_not_depend_on_its_batch(rows: list[dict]) -> None:
    section = params()
    pipeline = load_pipeline(section, "cpu")
    images, heats = sample_batch(pipeline, section, rows)
    assert images.shape == (5, 64, 64, 3) and images.dtype == np.uint8
    assert [h.shape for h in heats] == [(2, 16, 16)] * 5
    assert heats[0].dtype == np.float16 and 0 < heats[0].max() <= 1
    reversed_images, reversed_heats = sample_batch(pipeline, section, rows[::-1][:3])
    for i in range(3):
        # Arithmetic of another batch size may round otherwise: one grey level at the most.
        assert np.abs(images[4 - i].astype(int) - reversed_images[i]).max() <= 1
        np.testing.assert_allclose(heats[4 - i], reversed_heats[i], atol=1e-3)


def test_noise_is_the_rows_own(rows: list[dict]) -> None:
    first = torch.randn(4, generator=torch.Generator("cpu").manual_seed(rows[0]["seed"]))
    again = torch.randn(4, generator=torch.Generator("cpu").manual_seed(rows[0]["seed"]))
    other = torch.randn(4, generator=torch.Generator("cpu").manual_seed(rows[1]["seed"]))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_heat_and_image_belong_to_the_row_in_the_index(tmp_path: Path, rows: list[dict]) -> None:
    from tasks import sample_images
    from tasks.label_maps import decode
    from tasks.shards import Member

    whole = load_params(ROOT / "presets/storybook.yaml")
    whole = whole.model_copy(update={"sample_images": params(batch_size=2, shard_size=2)})
    records.write_table(tmp_path / "data/prompts.parquet", rows, records.PROMPTS)
    records.write_json(tmp_path / "data/inputs/model.json", {"digest": "m"})
    records.write_json(tmp_path / "models/lora/adapter.json", {"enabled": False, "digest": None})
    sample_images.run(whole, tmp_path)
    index = records.read_rows(tmp_path / "data/samples/index.parquet")
    assert [r["seed"] for r in index] == [r["seed"] for r in rows]
    pipeline = load_pipeline(whole.sample_images, "cpu")
    images, _ = sample_batch(pipeline, whole.sample_images, rows[2:4])
    at = index[2]
    stored = decode(
        Member(str(tmp_path / at["shard"]), at["image_offset"], at["image_size"]).read()
    )
    assert np.array_equal(stored, images[0])
    first = {p.name: p.read_bytes() for p in (tmp_path / "data/samples/shards").iterdir()}
    sample_images.run(whole, tmp_path)
    assert first == {p.name: p.read_bytes() for p in (tmp_path / "data/samples/shards").iterdir()}
