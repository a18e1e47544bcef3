"""Label quality by cross-validation: cleanlab's scores, folds without twins, and what it finds."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cleanlab.segmentation.rank import get_label_quality_scores

from tasks import label_quality, records
from tasks.in_use import read_in_use
from tasks.label_quality import (
    Labelled,
    cross_validate,
    fold_of,
    label_probabilities,
    mask_quality,
    recipe,
)
from tasks.params import CrossValidation, InputError, Params
from tasks.shards import Member

Make = Callable[..., Params]

SECTION = CrossValidation(folds=3, iterations=5, temperature=0.1, seed=0)


def probabilities(classes: int, side: int = 8) -> np.ndarray:
    """``(classes, side, side)``, random."""
    drawn = np.random.default_rng(0).random((classes, side, side))
    return (drawn / drawn.sum(0)).astype(np.float32)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_a_mask_without_ignored_pixels_gets_cleanlabs_score(temperature: float) -> None:
    found = probabilities(4)
    label = np.random.default_rng(1).integers(0, 4, (8, 8)).astype(np.uint8)
    expected, _ = get_label_quality_scores(
        label[None].astype(int), found[None], verbose=False, temperature=temperature
    )
    assert mask_quality(label, found, temperature).whole == pytest.approx(expected[0], abs=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_ignored_pixels_do_not_count(dtype: type) -> None:
    found, label = probabilities(3), np.zeros((8, 8), dtype)
    label[4:] = np.iinfo(dtype).max
    changed = found.copy()
    changed[:, 4:] = np.array([0, 0, 1])[:, None, None]
    assert mask_quality(label, changed, 0.1) == mask_quality(label, found, 0.1)
    nothing = mask_quality(np.full((8, 8), np.iinfo(dtype).max, dtype), found, 0.1)
    assert nothing == (None, {})


def test_quality_of_a_class_is_of_what_either_says() -> None:
    """The mask says 1 on the left half, the network on the upper half; both are sure."""
    label = np.zeros((8, 8), np.uint8)
    label[:, :4] = 1
    sure = np.zeros((3, 8, 8), np.float32)
    sure[0, 4:], sure[1, :4] = 1, 1
    quality = mask_quality(label, sure, 1e6)  # so that it is the plain mean
    assert quality.whole == pytest.approx(0.5)
    assert set(quality.by_value) == {0, 1}
    assert quality.by_value[1] == pytest.approx(1 / 3)
    assert quality.by_value[0] == pytest.approx(1 / 3)
    assert mask_quality(label, sure, 0.1).whole == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("room", "sizes"), [(1 << 30, [5, 2]), (2 * 4 * 3 * 64, [2, 2, 1, 1, 1])])
def test_logits_of_a_batch_have_room(
    room: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three labels: two images of 8x8 pixels at a time, but one of 16x16 whatever it takes."""
    asked = []

    def test_step(batch: dict[str, list[np.ndarray]]) -> list[Any]:
        asked.append(len(batch["inputs"]))
        logits = [torch.zeros(3, *image.shape[:2]) for image in batch["inputs"]]
        return [SimpleNamespace(seg_logits=SimpleNamespace(data=each)) for each in logits]

    network: Any = SimpleNamespace(
        class_names=("a", "b", "c"),
        pipeline=lambda given: {"inputs": given["img"]},
        network=SimpleNamespace(test_step=test_step),
    )
    monkeypatch.setattr(label_quality, "LOGITS_BYTES", room)
    images = [np.zeros((8, 8, 3), np.uint8)] * 5 + [np.zeros((16, 16, 3), np.uint8)] * 2
    shapes = [each.shape for each in label_probabilities(network, images)]
    assert asked == sizes and shapes == [(3, 8, 8)] * 5 + [(3, 16, 16)] * 2


def test_twins_share_a_fold_and_folds_are_of_a_size() -> None:
    texts = [f"text {n // 2}" for n in range(60)]
    folds = fold_of(texts, SECTION)
    assert fold_of(texts[::-1], SECTION) == folds
    assert sorted(list(folds.values()).count(fold) for fold in range(3)) == [10, 10, 10]
    assert fold_of(texts, SECTION.model_copy(update={"seed": 1})) != folds


def test_folds_need_as_many_texts() -> None:
    with pytest.raises(InputError, match=r"3 folds need as many.*there are 2; ask for fewer"):
        fold_of(["a", "b", "a"], SECTION)


def test_a_fold_takes_the_network_and_its_optimisation_alone(make_params: Make) -> None:
    section = make_params(
        {
            "train_segmenter.reliability": "co_training",
            "train_segmenter.ema": 0.9,
            "train_segmenter.keep": "best",
            "train_segmenter.patience": 2,
        }
    ).train_segmenter
    light = recipe(section, SECTION)
    assert (light.config, light.batch_size) == (section.config, section.batch_size)
    assert (light.iterations, light.reliability, light.ema, light.keep, light.patience) == (
        5, "none", 0.0, "last", None,
    )  # fmt: skip


def labelled(root: Path) -> list[Labelled]:
    masks = records.read_rows(root / "data/masks/index.parquet")
    prompts = records.read_rows(root / "data/prompts.parquet")
    samples = records.read_rows(root / "data/samples/index.parquet")
    return [
        Labelled(
            sample["sample_id"],
            prompt["text"],
            Member(sample["shard"], sample["image_offset"], sample["image_size"]),
            Member(mask["shard"], mask["label_offset"], mask["label_size"]),
            Member(mask["shard"], mask["reliability_offset"], mask["reliability_size"]),
        )
        for sample, mask, prompt in zip(samples, masks, prompts, strict=True)
    ]


def validated(root: Path, toy_params: Make, **changes: Any) -> dict[str, Any]:
    mine = {"folds": 2, "iterations": 60} | changes
    section = {f"score_masks.cross_validation.{key}": value for key, value in mine.items()}
    recipe = {"train_segmenter.learning_rate": 0.01, "train_segmenter.device": "cpu"}
    return dict(cross_validate(labelled(root), toy_params(section | recipe), root))


def test_a_swapped_mask_has_the_worst_quality(scoring_root: Path, toy_params: Make) -> None:
    """The mask of a blue square in place of a red one's: it lies elsewhere, and says blue."""
    path = scoring_root / "data/masks/index.parquet"
    masks = records.read_rows(path)
    for key in ("label_offset", "label_size"):
        masks[0][key] = masks[5][key]
    records.write_table(path, masks, records.MASKS)
    found = validated(scoring_root, toy_params)
    assert set(found) == {f"sample{n}" for n in range(16)}
    assert min(found, key=lambda name: found[name].whole) == "sample0"
    assert found["sample0"].by_value[2] < 0.5 * min(
        found[f"sample{n}"].by_value[1 + n % 2] for n in range(1, 16)
    )


def test_finished_folds_are_taken_over(
    scoring_root: Path, toy_params: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        first = validated(scoring_root, toy_params, iterations=2)
        assert "finished already" not in caplog.text
        again = validated(scoring_root, toy_params, iterations=2, temperature=1.0)
        assert caplog.text.count("finished already") == 2
    used = read_in_use("training", scoring_root)
    assert used == {path.name for path in (scoring_root / ".maskloom/training").iterdir()}
    assert used and len(used) == 2
    validated(scoring_root, toy_params, iterations=1)
    assert not used & (read_in_use("training", scoring_root) or set())
    assert again["sample3"].whole > first["sample3"].whole  # a mean, no longer the worst pixels
    shutil.rmtree(scoring_root / ".maskloom/folds")
    caplog.clear()
    with caplog.at_level("INFO"):
        assert validated(scoring_root, toy_params, iterations=2) == first
    assert caplog.text.count("finished already") == 2
