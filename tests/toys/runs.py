"""What a finished run leaves."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.captures import Captured
from tasks.label_maps import encode_grey, encode_image, encode_label
from tasks.records import (
    DATASET,
    MASKS,
    PROMPTS,
    SAMPLES,
    content_id,
    content_seed,
    write_json,
    write_table,
)
from tasks.shards import write_shard
from tests.toys.training import write_square

HOSTILE = "a <script>alert('1')</script> [red]poodle[/red]\nand a \x1b[31mcar"
"""A prompt that is markup to HTML, to rich and to a terminal."""


def write_pipeline_state(root: Path, seed: int = 0, text: str = HOSTILE) -> None:
    """Outputs of all stages for six samples in two shards, with exact labels of a red square.

    Samples 0 to 3 are of dog, 4 and 5 of car; sample 1 is rejected, its text is ``text``.

    Args:
        root: a repository root, see `benchmarks.lineage_state`.
        seed: of the images; other seeds make other samples of the same prompts.
    """
    from tasks import filter_masks, score_masks
    from tasks.params import load_params

    params = load_params(root / "params.yaml", lists=None)
    prompts, samples, masks = [], [], []
    shards: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for number in range(6):
        name = "dog" if number < 4 else "car"
        phrase = "poodle" if number == 1 else name
        said = text if number == 1 else f"a photo of a {phrase}, {number}"
        start = said.index(phrase)
        word = {
            "name": name,
            "phrase": phrase,
            "start": start,
            "end": start + len(phrase),
            "relation": "hyponym" if number == 1 else "plain",
            "depth": 2 if number == 1 else 0,
            "synset": "oewn-02116078-n" if number == 1 else "",
        }
        prompt_id = content_id("prompt", number)
        prompts.append(
            {
                "prompt_id": prompt_id,
                "seed": content_seed(number),
                "text": said,
                "negative_prompt": "",
                "classes": [word],
                "source": "templates",
                "template": "a photo of a {}",
                "caption_id": "",
            }
        )
        sample = {
            "sample_id": content_id("sample", seed, number),
            "prompt_id": prompt_id,
            "seed": content_seed(number),
        }
        area = 0.01 if number == 1 else 0.25
        shown = {"area": area, "peak": 0.5, "margin": 0.5, "entropy": 0.2, "agreement": 0.9}
        mask = {
            "sample_id": sample["sample_id"],
            "entropy": 0.1,
            "classes": [{"name": name, **shown}],
        }
        shards.setdefault(f"{name}-0000.tar", []).append((sample, mask))
    for shard, rows in shards.items():
        images, labels = [], []
        for sample, _ in rows:
            stem = sample["sample_id"]
            image, label, trust = write_square(int(stem, 16) % 1000)
            attention = bytes([0, 1, 2, 3]) * 50 + stem.encode()
            images += [(f"{stem}.png", image), (f"{stem}.attention.safetensors", attention)]
            labels += [(f"{stem}.label.png", label), (f"{stem}.reliability.png", trust)]
        for folder, files, kinds, place in (
            ("samples", images, ("image", "attention"), 0),
            ("masks", labels, ("label", "reliability"), 1),
        ):
            path = f"data/{folder}/shards/{shard}"
            written = iter(write_shard(root / path, files))
            for row in rows:
                row[place]["shard"] = path
                for kind in kinds:
                    at = next(written)
                    where = {"offset": at.offset, "size": at.size, "crc32": at.crc32}
                    row[place].update({f"{kind}_{key}": value for key, value in where.items()})
        samples += [sample for sample, _ in rows]
        masks += [mask for _, mask in rows]
    write_table(root / "data/prompts.parquet", prompts, PROMPTS)
    write_table(root / "data/samples/index.parquet", samples, SAMPLES)
    write_table(root / "data/masks/index.parquet", masks, MASKS)
    score_masks.run(params, root)
    filter_masks.run(params, root)
    model = {"pipeline": "StableDiffusionPipeline", "digest": "ab" * 32, "files": {}}
    write_json(root / "data/inputs/model.json", model)
    for name in ("labelled_set", "test_set", "reference", "texts", "init_from"):
        write_json(root / f"data/inputs/{name}.json", {"digest": None})
    write_json(root / "metrics/preflight.json", {"ok": True})
    adapter = {
        "source": "trained",
        "digest": "cd" * 32,
        "base": model["digest"],
        "images": [{"name": "street.png", "digest": "ef" * 32, "caption": "a street"}],
    }
    write_json(root / "models/lora/adapter.json", adapter)
    for name in ("segmenter", "reference"):
        (root / "models" / name).mkdir(parents=True, exist_ok=True)
        (root / "models" / name / "weights.pth").write_bytes(f"{name} {seed}".encode())
        write_json(root / "models" / name / "classes.json", params.expand_prompts.label_names)
    write_json(root / "metrics/training.json", {"iterations": 4, "images": 5, "init_from": None})
    write_json(root / "metrics/evaluation.json", {"miou": 0.5 + seed / 10, "per_class": {}})
    for module in ("sample_images", "filter_masks"):
        path = root / f"tasks/{module}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# {module}\n")


@pytest.fixture
def lineage_root(tmp_path: Path) -> Path:
    """A repository whose pipeline has run once, on six samples, and whose state is committed."""
    from benchmarks.lineage_state import commit, record, start

    root = tmp_path / "repository"
    start(root)
    write_pipeline_state(root)
    record(root)
    commit(root, "the first state")
    return root


SCRIPT_PROMPT = "a <script>alert(\"1\")</script> car & 'boat'"
"""A prompt that would be a script, if it were not escaped."""


EVALUATED: dict[str, Any] = {
    "miou": 0.7,
    "reference_miou": 0.9,
    "ratio": 0.7778,
    "per_class": {"background": 0.95, "car": 0.6, "boat": None},
    "reference_per_class": {"background": 0.98, "car": 0.9, "boat": None},
    "images": 300,
    "test_set": "data/storybook/test",
    "not_measured": [],
}
NOT_MEASURED: dict[str, Any] = {
    "miou": None,
    "reference_miou": None,
    "ratio": None,
    "per_class": {},
    "reference_per_class": {},
    "images": 0,
    "test_set": "none",
    "not_measured": ["Nothing was measured on real images."],
}


@pytest.fixture
def finished_run(tmp_path: Path) -> Path:
    """A finished run of two classes: two kept samples and a rejected one.

    The boat of the sample that has both classes is a hyponym.
    """
    rng = np.random.default_rng(0)
    texts = ["a car", SCRIPT_PROMPT, "a boat"]
    areas = [{"car": 0.3}, {"car": 0.2, "boat": 0.4}, {"boat": 0.02}]
    prompts, dataset, samples, masks = [], [], [], []
    for number, (text, classes) in enumerate(zip(texts, areas, strict=True)):
        hyponym = "boat" if len(classes) == 2 else None
        prompts.append(
            {
                "prompt_id": f"p{number}",
                "seed": 2**62 + number,
                "text": text,
                "negative_prompt": "shard://is no address here",
                "source": "templates",
                "template": "a {}",
                "caption_id": "",
                "classes": [
                    {
                        "name": name,
                        "phrase": name,
                        "start": text.index(name),
                        "end": text.index(name) + len(name),
                        "relation": "hyponym" if name == hyponym else "plain",
                        "depth": 1 if name == hyponym else 0,
                        "synset": "",
                    }
                    for name in classes
                ],
            }
        )
        maps = rng.random((len(classes), 16, 16)).astype(np.float16)
        cross = {("middle", (16, 16)): maps, ("middle", (8, 8)): maps[:, ::2, ::2]}
        attention = Captured(cross | {("0", (16, 16)): 1 - maps}).encode()
        label = rng.integers(0, 3, (16, 16)).astype(np.uint8)
        files = [
            ("x.png", encode_image(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8))),
            ("x.attention.safetensors", attention),
            ("x.label.png", encode_label(label)),
            ("x.reliability.png", encode_grey(label * 100)),
        ]
        path = tmp_path / f"data/samples/shards/{number}.tar"
        members = write_shard(path, files)
        uris = [member.uri.replace(f"shard://{tmp_path}/", "shard://", 1) for member in members]
        parts = ("image", "attention", "label", "reliability")
        sums = {
            f"{part}_crc32": member.crc32 for part, member in zip(parts, members, strict=True)
        } | {"shard_digest": hashlib.sha256(path.read_bytes()).hexdigest()}
        ids = {"sample_id": f"sample-{number}", "prompt_id": f"p{number}"}
        samples.append({**ids, "seed": 2**62 + number, "batch_size": 4, **sums})
        masks.append({**ids, **sums})
        kept = number < 2
        scores = [
            {"name": name, "area": area, "peak": 0.3, "margin": 0.4}
            for name, area in classes.items()
        ]
        dataset.append(
            {
                **ids,
                "text": text,
                "classes": scores,
                "kept": kept,
                "rule": "" if kept else "min_area",
                "value": None if kept else 0.02,
                "bound": None if kept else 0.04,
                "reason": "" if kept else "boat: area 0.020 below min_area 0.04",
                "split": ("train", "val", "")[number],
                **dict(zip(parts, uris, strict=True)),
            }
        )
    write_table(tmp_path / "data/prompts.parquet", prompts, PROMPTS)
    write_table(tmp_path / "data/dataset/index.parquet", dataset, DATASET)
    write_table(tmp_path / "data/samples/index.parquet", samples, SAMPLES)
    write_table(tmp_path / "data/masks/index.parquet", masks, MASKS)
    write_json(tmp_path / "data/inputs/model.json", {"digest": "0123456789abcdef" * 4})
    write_json(tmp_path / "models/lora/adapter.json", {"source": "none", "digest": None})
    curve = {"curve": [[10, 2.0], [20, 1.0]], "val": [[20, 0.5]]}
    counts = {
        "prompts": 1234,
        "distinct_texts": 1001,
        "distinct_words": 7,
        "repeats": 233,
        "withdrawn": 3,
        "relations": {"hyponym": 34, "plain": 1200},
        "depths": {"0": 1200, "1": 20, "3": 14},
    }
    metrics = {
        "prompts": counts | {"per_class": {"<car>": counts}},
        "filter": {
            "samples": 3,
            "kept": 2,
            "rejected": 1,
            "reasons": {"min_area": 1},
            "train": 1,
            "val": 1,
        },
        "training": {"iterations": 20, "images": 1, **curve},
        "reference_training": {"trained": True, "iterations": 20, "images": 9, **curve},
        "evaluation": EVALUATED,
    }
    for name, value in metrics.items():
        write_json(tmp_path / f"metrics/{name}.json", value)
    for what in ("truth", "prediction", "reference"):
        path = tmp_path / f"data/evaluation/0000.{what}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_label(np.eye(16, dtype=np.uint8)))
    image = encode_image(np.zeros((16, 16, 3), np.uint8))
    (tmp_path / "data/evaluation/0000.image.png").write_bytes(image)
    return tmp_path
