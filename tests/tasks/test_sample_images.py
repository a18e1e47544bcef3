from pathlib import Path

import numpy as np
import pytest
import torch

from tasks import records, sample_images
from tasks.captures import decode_capture
from tasks.label_maps import decode
from tasks.params import Params, SampleImages, load_params
from tasks.prompts import expand
from tasks.sample_images import (
    load_pipeline,
    plan_shards,
    sample_batch,
    sample_id,
    slug,
)
from tasks.shards import Member

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


CAPTURE = {
    "steps": [0, "all"],
    "resolutions": [16, 8],
    "self_attention": {"resolution": 8, "step": 1},
}


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    section = load_params(ROOT / "presets/storybook.yaml").expand_prompts
    section = section.model_copy(update={"images_per_class": 2, "two_class_share": 1.0})
    return expand(section)[:5]


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
        sample_id(rows[0], params(capture=CAPTURE), "m", None, "cpu"),
        sample_id(rows[0], params(dtype="bfloat16"), "m", None, "cpu"),
        sample_id(rows[0], params(), "n", None, "cpu"),
        sample_id(rows[0], params(), "m", "adapter", "cpu"),
        sample_id(rows[0], params(), "m", None, "cuda"),
    }
    assert len(others | {base}) == 8


def test_a_sample_does_not_depend_on_its_batch(rows: list[dict]) -> None:
    """Neither on the batch's size nor on its order."""
    section = params(capture=CAPTURE)
    pipeline = load_pipeline(section, "cpu")
    images, captures = sample_batch(pipeline, section, rows)
    assert images.shape == (5, 64, 64, 3) and images.dtype == np.uint8
    reversed_images, reversed_captures = sample_batch(pipeline, section, rows[::-1][:3])
    for i in range(3):
        # Arithmetic of another batch size may round otherwise: one grey level at the most.
        assert np.abs(images[4 - i].astype(int) - reversed_images[i]).max() <= 1
        for key, value in captures[4 - i].cross.items():
            np.testing.assert_allclose(value, reversed_captures[i].cross[key], atol=1e-3)


def test_what_is_kept_is_what_the_capture_names(rows: list[dict]) -> None:
    section = params(capture=CAPTURE)
    pipeline = load_pipeline(section, "cpu")
    one_class = rows[0] | {"classes": rows[0]["classes"][:1]}
    _, (first, second) = sample_batch(pipeline, section, [one_class, rows[1]])
    shapes = {key: value.shape for key, value in first.cross.items()}
    assert shapes == {
        (step, (side, side)): (1, side, side) for step in ("0", "all") for side in (8, 16)
    }
    assert {value.shape[0] for value in second.cross.values()} == {2}
    assert {value.dtype for value in first.cross.values()} == {np.dtype(np.float16)}
    assert 0 < first.cross["0", (16, 16)].max() <= 1
    assert not np.array_equal(first.cross["0", (16, 16)], first.cross["all", (16, 16)])
    (matrix,) = first.self_attention.values()
    assert matrix.shape == (64, 64)
    np.testing.assert_allclose(matrix.astype(np.float32).sum(1), 1, atol=5e-3)

    usual = params()
    _, (least,) = sample_batch(pipeline, usual, rows[:1])
    assert list(least.cross) == [("middle", (16, 16))] and not least.self_attention


def test_the_images_do_not_depend_on_what_is_kept(rows: list[dict]) -> None:
    pipeline = load_pipeline(params(), "cpu")
    plain, _ = sample_batch(pipeline, params(), rows[:2])
    all_kept, _ = sample_batch(pipeline, params(capture=CAPTURE), rows[:2])
    assert np.array_equal(plain, all_kept)


def test_noise_is_the_rows_own(rows: list[dict]) -> None:
    first = torch.randn(4, generator=torch.Generator("cpu").manual_seed(rows[0]["seed"]))
    again = torch.randn(4, generator=torch.Generator("cpu").manual_seed(rows[0]["seed"]))
    other = torch.randn(4, generator=torch.Generator("cpu").manual_seed(rows[1]["seed"]))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_attention_and_image_belong_to_their_row(tmp_path: Path, rows: list[dict]) -> None:
    whole = load_params(ROOT / "presets/storybook.yaml")
    whole = whole.model_copy(update={"sample_images": params(batch_size=2, shard_size=2)})
    records.write_table(tmp_path / "data/prompts.parquet", rows, records.PROMPTS)
    records.write_json(tmp_path / "data/inputs/model.json", {"digest": "m"})
    records.write_json(tmp_path / "models/lora/adapter.json", {"enabled": False, "digest": None})
    sample_images.run(whole, tmp_path)
    index = records.read_rows(tmp_path / "data/samples/index.parquet")
    assert [r["seed"] for r in index] == [r["seed"] for r in rows]
    pipeline = load_pipeline(whole.sample_images, "cpu")
    images, captures = sample_batch(pipeline, whole.sample_images, rows[2:4])
    at = index[2]
    stored = decode(
        Member(str(tmp_path / at["shard"]), at["image_offset"], at["image_size"]).read()
    )
    assert np.array_equal(stored, images[0])
    kept = decode_capture(
        Member(str(tmp_path / at["shard"]), at["attention_offset"], at["attention_size"]).read()
    )
    assert np.array_equal(kept.cross["middle", (16, 16)], captures[0].cross["middle", (16, 16)])
    first = {p.name: p.read_bytes() for p in (tmp_path / "data/samples/shards").iterdir()}
    sample_images.run(whole, tmp_path)
    assert first == {p.name: p.read_bytes() for p in (tmp_path / "data/samples/shards").iterdir()}
