from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from tasks import masks, records
from tasks.captures import Captured
from tasks.mask_methods import spread_by_self_attention, with_background
from tasks.masks import (
    Mask,
    Sampled,
    batches,
    class_maps,
    drop_small,
    extract,
    label_and_margin,
    margin_rank,
    merge_phrases,
    refine,
    score_stack,
)
from tasks.params import ExtractMasks, Params
from tasks.refine import dense_crf, guided_filter
from tasks.score_masks import is_finite
from tasks.verdicts import judge

METHODS = ("attn2mask", "averaged", "self_attention", "diffumask")
VALUES = {"car": 1, "dog": 7}


@pytest.fixture
def section(make_params: Callable[..., Params]) -> Callable[..., ExtractMasks]:
    """The mask parameters with keys changed; `beta` 0.2, no refinement and a small filter."""

    def make(method: str = "attn2mask", **changes: Any) -> ExtractMasks:
        keys = {
            "method": method,
            "refine": "none",
            "attn2mask.beta": 0.2,
            "attn2mask.resolutions": None,
            "averaged.beta": 0.4,
            "averaged.resolutions": None,
            "diffumask.min_box": 0.0,
            "guided.radius": 3,
            "guided.epsilon": 1e-3,
            "guided.iterations": 1,
        } | {key.replace("__", "."): value for key, value in changes.items()}
        everything = {
            "sample_images.capture.steps": ["middle", "all"],
            "sample_images.capture.resolutions": None,
            "sample_images.capture.self_attention": {"resolution": 4, "step": "middle"},
        }
        return make_params(
            everything | {f"extract_masks.{key}": value for key, value in keys.items()}
        ).extract_masks

    return make


def sampled(
    maps: np.ndarray,
    names: list[str],
    image: np.ndarray | None = None,
    side: int = 8,
    attention: np.ndarray | None = None,
) -> Sampled:
    """A sample whose every step shows ``maps (phrases, 4, 4)``.

    Positions attend to themselves, unless ``attention (16, 16)`` says otherwise.
    """
    if image is None:
        image = np.zeros((side, side, 3), np.uint8)
    if attention is None:
        attention = np.eye(16)
    maps = maps.astype(np.float16)
    cross = {(step, (4, 4)): maps for step in ("middle", "all")}
    return Sampled(image, names, Captured(cross, {(4, 4): attention.astype(np.float16)}))


def noise(seed: int, side: int = 8) -> Sampled:
    """Two classes with random maps, image and self-attention."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, (side, side, 3), np.uint8)
    scores = np.exp(4 * rng.random((16, 16)))
    return sampled(
        rng.random((2, 4, 4)),
        ["car", "dog"],
        image,
        attention=scores / scores.sum(1, keepdims=True),
    )


def halves() -> np.ndarray:
    """The first phrase above, the second in the last column."""
    maps = np.zeros((2, 4, 4))
    maps[0, :2, :3], maps[1, :, 3] = 0.25, 0.5
    return maps


def one(batch: list[Sampled], section: ExtractMasks, values: dict[str, int] = VALUES) -> Mask:
    (mask,) = extract(batch, values, section)
    return mask


def test_margin_rank_is_per_class_and_ties_share() -> None:
    label = np.array([[0, 0, 0], [1, 1, 2]])
    margin = np.array([[0.1, 0.9, 0.5], [0.3, 0.3, 0.7]])
    assert margin_rank(label, margin).tolist() == [[0, 255, 128], [128, 128, 128]]


def test_margin_is_the_lead_over_the_second_best() -> None:
    stack = torch.tensor([[[[0.8, -0.2]], [[0.0, 1.0]], [[0.5, 0.25]]]])
    label, margin = label_and_margin(stack)
    assert label.tolist() == [[[0, 1]]]
    torch.testing.assert_close(margin, torch.tensor([[[0.3, 0.75]]]))


def test_phrases_of_one_class_are_merged_by_maximum() -> None:
    maps = np.array([[[1.0, 0.0]], [[0.0, 2.0]], [[0.0, 3.0]]])
    assert merge_phrases(maps, ["car", "dog", "car"]).tolist() == [[[1.0, 3.0]], [[0.0, 2.0]]]


def test_a_method_reads_its_own_step(section: Callable[..., ExtractMasks]) -> None:
    cross = {
        ("middle", (4, 4)): np.full((1, 4, 4), 0.25, np.float16),
        ("all", (4, 4)): np.full((1, 4, 4), 0.5, np.float16),
    }
    batch = [Sampled(np.zeros((8, 8, 3), np.uint8), ["car"], Captured(cross))]
    assert class_maps(batch, section("attn2mask"))[0].max() == 0.25
    for method in METHODS[1:]:
        assert class_maps(batch, section(method))[0].max() == 0.5


def test_a_method_reads_its_own_resolutions(section: Callable[..., ExtractMasks]) -> None:
    cross = {
        ("middle", (side, side)): np.full((1, side, side), 1 / side, np.float16)
        for side in (2, 4, 8)
    }
    batch = [Sampled(np.zeros((8, 8, 3), np.uint8), ["car"], Captured(cross))]
    (mask,) = extract(batch, VALUES, section(attn2mask__resolutions=[8, 2]))
    assert mask.classes[0]["peak"] == pytest.approx((1 / 8 + 1 / 2) / 2, abs=1e-4)
    chosen = class_maps(batch, section(attn2mask__resolutions=[2, 8]))
    assert [each.shape[-1] for each in chosen] == [8, 2]
    assert [each.shape[-1] for each in class_maps(batch, section())] == [8, 4, 2]


def test_each_method_has_its_own_parameters(section: Callable[..., ExtractMasks]) -> None:
    """The stack is that of the method's function with the section's values."""
    batch = [noise(0), noise(1)]
    for method, beta in (("attn2mask", 0.2), ("averaged", 0.4)):
        chosen = section(method)
        maps = class_maps(batch, chosen)
        assert torch.equal(score_stack(batch, maps, chosen), with_background(maps, (8, 8), beta))
    chosen = section("self_attention", self_attention__power=3)
    attention = np.stack([one.captured.self_attention[4, 4] for one in batch])
    expected = spread_by_self_attention(
        maps, torch.from_numpy(attention).float(), (4, 4), (8, 8), 3, 0.6
    )
    assert torch.equal(score_stack(batch, maps, chosen), expected)
    fewer = section("self_attention", self_attention__power=1)
    assert not torch.equal(score_stack(batch, maps, fewer), expected)


def test_diffumask_chooses_a_threshold_for_each_image(
    section: Callable[..., ExtractMasks],
) -> None:
    pytest.importorskip("pydensecrf", reason="the dense CRF is not installed: make crf")
    batch, chosen = [noise(2, 16), noise(3, 16), noise(4, 16)], section("diffumask")
    together = score_stack(batch, class_maps(batch, chosen), chosen)
    for i, one_ in enumerate(batch):
        alone = score_stack([one_], class_maps([one_], chosen), chosen)
        assert torch.equal(together[i : i + 1], alone)
    shifts = [(together[i, 1] - together[0, 1]).abs().max() for i in range(3)]
    assert min(shifts[1:]) > 0


def test_refinements_have_their_own_parameters(section: Callable[..., ExtractMasks]) -> None:
    batch = [noise(5, 32), noise(6, 32)]
    images = np.stack([one.image for one in batch])
    guide = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    changes = {"subsample": 2, "iterations": 3, "sharpness": 5.0}
    chosen = section(refine="guided", **{f"guided__{key}": v for key, v in changes.items()})
    stack = score_stack(batch, class_maps(batch, chosen), chosen)
    assert torch.equal(
        refine(batch, stack, chosen),
        guided_filter(guide, stack, 3, 1e-3, subsample=2, iterations=3, sharpness=5.0),
    )
    pytest.importorskip("pydensecrf", reason="the dense CRF is not installed: make crf")
    chosen = section(refine="crf", crf__bilateral_rgb=40.0)
    expected = dense_crf(images, stack, **chosen.crf.model_dump())
    assert torch.equal(refine(batch, stack, chosen), expected)
    assert not torch.equal(refine(batch, stack, section(refine="crf")), expected)


def test_refinement_in_parts_is_refinement_at_once(
    section: Callable[..., ExtractMasks], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory does not grow with the batch."""
    batch = [noise(seed, 16) for seed in range(5)]
    chosen = section(refine="guided")
    stack = score_stack(batch, class_maps(batch, chosen), chosen)
    whole = refine(batch, stack, chosen)
    monkeypatch.setattr(masks, "GUIDED_PIXELS", 2 * 16 * 16)
    torch.testing.assert_close(refine(batch, stack, chosen), whole)


def dog_and_car(method: str, kind: str) -> Sampled:
    """A red dog and a blue car on grey; skips where the recipe needs a CRF that is missing."""
    if kind == "crf" or method == "diffumask":
        pytest.importorskip("pydensecrf", reason="the dense CRF is not installed: make crf")
    image = np.full((16, 16, 3), 128, np.uint8)
    image[:8, :12], image[:, 12:] = (220, 30, 30), (30, 30, 220)
    return sampled(halves(), ["dog", "car"], image)


@pytest.mark.parametrize("kind", ["none", "guided", "crf"])
@pytest.mark.parametrize("method", METHODS)
def test_several_classes_in_one_image_work_in_all_methods(
    method: str, kind: str, section: Callable[..., ExtractMasks]
) -> None:
    mask = one([dog_and_car(method, kind)], section(method, refine=kind))
    assert mask.label.dtype == mask.reliability.dtype == np.uint8
    truth = np.zeros((16, 16), int)
    truth[:8, :12], truth[:, 12:] = 7, 1
    sure = mask.label != 255
    assert (mask.label == truth)[sure].mean() > 0.85
    assert set(np.unique(mask.label[sure])) == {0, 1, 7}
    assert [scores["name"] for scores in mask.classes] == ["dog", "car"]
    for scores, value in zip(mask.classes, (7, 1), strict=True):
        assert scores["area"] == pytest.approx((mask.label == value).mean())
        assert scores["margin"] > 0
    assert [scores["peak"] for scores in mask.classes] == [0.25, 0.5]


SCENE = {"car": 0, "dog": 1, "sky": 2}
"""Label values without a background."""


@pytest.mark.parametrize("kind", ["none", "guided", "crf"])
@pytest.mark.parametrize("method", METHODS)
def test_without_background_what_no_class_wins_is_ignored_by_all_methods(
    method: str, kind: str, section: Callable[..., ExtractMasks]
) -> None:
    """The same maps with and without a background: only the label 0 of the rest differs."""
    batch, chosen = [dog_and_car(method, kind)], section(method, refine=kind)
    rest = one(batch, chosen, {"car": 1, "dog": 2, "sky": 3})
    none = one(batch, chosen, SCENE)
    expected = np.select([rest.label == 2, rest.label == 1], [1, 0], 255)
    assert np.array_equal(none.label, expected)
    ignored = none.label == 255
    assert 0.2 < ignored.mean() < 0.8
    assert none.reliability[ignored].max() == 0
    assert np.array_equal(none.reliability[~ignored], rest.reliability[~ignored])
    assert none.classes == rest.classes


@pytest.mark.parametrize("kind", ["none", "guided", "crf"])
@pytest.mark.parametrize("method", METHODS[:2])
def test_at_beta_1_every_pixel_has_a_class(
    method: str, kind: str, section: Callable[..., ExtractMasks]
) -> None:
    """Also where the only map is at its lowest, and the rest scores as much as the class."""
    if kind == "crf":
        pytest.importorskip("pydensecrf", reason="the dense CRF is not installed: make crf")
    chosen = section(method, refine=kind, **{f"{method}__beta": 1.0})
    for names in (["dog"], ["dog", "car"]):
        batch = [sampled(halves()[: len(names)], names)]
        assert set(np.unique(one(batch, chosen, SCENE).label)) == {SCENE[name] for name in names}


def test_a_larger_beta_ignores_less(section: Callable[..., ExtractMasks]) -> None:
    maps = np.linspace(0, 1, 16).reshape(1, 4, 4)
    shares = [
        (one([sampled(maps, ["dog"], side=4)], section(attn2mask__beta=beta), SCENE).label == 255)
        for beta in (0.0, 0.5, 1.0)
    ]
    # A class wins from (1 - beta) / 2 on; the values are sixteen, 1/15 apart.
    assert [each.sum() for each in shares] == [8, 4, 0]


def test_exact_labels_and_scores(section: Callable[..., ExtractMasks]) -> None:
    maps = np.zeros((1, 4, 4))
    maps[0, :2] = 0.25
    mask = one([sampled(maps, ["dog"], side=4)], section())
    assert mask.label.tolist() == [[7] * 4, [7] * 4, [0] * 4, [0] * 4]
    assert mask.classes[0] == {
        "name": "dog",
        "area": 0.5,
        "peak": 0.25,
        "margin": pytest.approx(1.2),
        "entropy": 0.0,
        "agreement": 1.0,
    }


def test_agreement_tells_what_refinement_changed(section: Callable[..., ExtractMasks]) -> None:
    """The map's half lies at column 8, the image's edge at 9; before, the class begins at 7."""
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, 9:] = 255
    maps = np.zeros((1, 4, 4))
    maps[0, :, 2:] = 1
    batch = [sampled(maps, ["car"], image)]
    raw, refined = (one(batch, section(refine=kind)) for kind in ("none", "guided"))
    assert raw.classes[0]["agreement"] == 1.0
    before, after = raw.label == 1, refined.label == 1
    expected = (before & after).sum() / (before | after).sum()
    assert refined.classes[0]["agreement"] == pytest.approx(expected)
    assert expected < 0.95


def test_attention_that_is_no_number_shows_in_the_scores(
    section: Callable[..., ExtractMasks],
) -> None:
    maps = np.full((2, 4, 4), 0.25)
    maps[0, 1, 1] = np.nan
    for refinement in ("none", "guided"):
        mask = one([sampled(maps, ["dog", "car"])], section(refine=refinement))
        assert not is_finite({"entropy": mask.entropy, "classes": mask.classes})


@pytest.mark.parametrize("method", METHODS)
def test_a_map_of_an_absent_class_is_never_invented(
    method: str, section: Callable[..., ExtractMasks]
) -> None:
    """A phrase with no attention anywhere gets no pixel, and a class that is not named neither."""
    if method == "diffumask":
        pytest.importorskip("pydensecrf", reason="the dense CRF is not installed: make crf")
    maps = np.zeros((2, 4, 4))
    maps[0, :, 2:] = 0.5
    mask = one([sampled(maps, ["car", "dog"])], section(method))
    assert set(np.unique(mask.label)) - {255} == {0, 1}
    assert mask.classes[1]["area"] == mask.classes[1]["margin"] == mask.classes[1]["peak"] == 0.0


def test_a_flat_map_is_rejected_by_its_peak(
    section: Callable[..., ExtractMasks], make_params: Callable[..., Params]
) -> None:
    """Every map is scaled to 0..1, so that next to nothing can look like something: its peak tells.

    A phrase that the model did not draw gets attention spread thin, never exactly none.
    """
    maps = 1e-3 + 1e-4 * np.random.default_rng(0).random((1, 4, 4))
    mask = one([sampled(maps, ["dog"])], section())
    assert mask.classes[0]["area"] > 0.2
    row = {"finite": True, "dark": 0.0, "contrast": 50.0, "duplicate_of": ""}
    scores = pa.Table.from_pylist([row | {"classes": mask.classes}], schema=records.SCORES)
    verdicts = judge(scores, make_params().filter_masks)
    assert verdicts.reason(0) == "dog: peak 0.001 below min_peak 0.05"


def test_refinement_moves_the_edge_to_the_image(section: Callable[..., ExtractMasks]) -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, 9:] = 255
    maps = np.zeros((1, 4, 4))
    maps[0, :, 2:] = 1
    truth = np.zeros((16, 16), np.uint8)
    truth[:, 9:] = 1
    batch = [sampled(maps, ["car"], image)]
    before = (one(batch, section()).label == truth).mean()
    after = (one(batch, section(refine="guided")).label == truth).mean()
    assert before < after == 1.0


def test_the_ignored_band_lies_below_the_threshold(section: Callable[..., ExtractMasks]) -> None:
    """Foreground from 0.6, no label from 0.5 to 0.6, and there no reliability either."""
    maps = np.linspace(0, 1, 16).reshape(1, 4, 4)
    mask = one([sampled(maps, ["dog"], side=4)], section("self_attention"))
    values = maps[0].astype(np.float16).astype(np.float32)
    expected = np.where(values > 0.6, 7, np.where(values > 0.5, 255, 0))
    assert mask.label.tolist() == expected.tolist()
    assert (mask.label == 255).sum() == 1


@pytest.mark.parametrize("kind", ["none", "guided", "crf"])
def test_the_ignored_band_is_that_of_the_methods_scores(
    kind: str, section: Callable[..., ExtractMasks]
) -> None:
    """Whatever refines them; only what refinement makes foreground leaves it."""
    if kind == "crf":
        pytest.importorskip("pydensecrf", reason="the dense CRF is not installed: make crf")
    chosen = section("self_attention", refine=kind)
    batch = [noise(seed, 32) for seed in range(3)]
    best = score_stack(batch, class_maps(batch, chosen), chosen)[:, 1:].amax(1).numpy()
    for i, mask in enumerate(extract(batch, VALUES, chosen)):
        band = (best[i] >= 0.5) & (best[i] < 0.6)
        assert np.array_equal(mask.label == 255, band & ~np.isin(mask.label, (1, 7)))
        assert (mask.label == 255).sum() > 5
        assert mask.reliability[mask.label == 255].max() == 0


def test_small_components_are_dropped() -> None:
    channel = np.zeros((10, 10), np.int64)
    channel[1:5, 1:5], channel[7, 7], channel[8, 8] = 1, 1, 2
    assert np.argwhere(drop_small(channel, 0.02)).tolist() == [[7, 7], [8, 8]]
    assert not drop_small(channel, 0.0).any()
    channel[6, 6] = 1  # touches the other at a corner: a box of four pixels
    assert np.argwhere(drop_small(channel, 0.03)).tolist() == [[8, 8]]


def test_what_diffumask_drops_is_background_with_the_least_reliability(
    section: Callable[..., ExtractMasks],
) -> None:
    pytest.importorskip("pydensecrf", reason="the dense CRF is not installed: make crf")
    maps = np.zeros((1, 4, 4))
    maps[0, :2, :2], maps[0, 3, 3] = 1, 1
    batch = [sampled(maps, ["dog"], side=16)]
    everything = one(batch, section("diffumask")).label == 7
    mask = one(batch, section("diffumask", diffumask__min_box=0.15))
    dropped = everything & (mask.label == 0)
    assert everything[15, 15] and dropped[15, 15] and not dropped[:8, :8].any()
    assert mask.reliability[dropped].max() < mask.reliability[15, 0]


def test_more_than_254_classes_are_stored_in_16_bits(
    section: Callable[..., ExtractMasks],
) -> None:
    maps = np.linspace(0, 1, 16).reshape(1, 4, 4)
    names = [f"class {i}" for i in range(919)]
    values = {name: i for i, name in enumerate(names, start=1)}
    batch = [sampled(maps, [names[-1]], side=4)]
    mask = one(batch, section("self_attention"), values)
    assert mask.label.dtype == np.uint16
    assert set(np.unique(mask.label)) == {0, 919, 65535}
    few = {name: values[name] for name in names[:253]} | {names[-1]: 254}
    assert one(batch, section("self_attention"), few).label.dtype == np.uint8
    scene = {name: i for i, name in enumerate(names)}
    ignored = one(batch, section("self_attention"), scene)
    assert set(np.unique(ignored.label)) == {918, 65535}
    assert ignored.reliability[ignored.label == 65535].max() == 0


def test_a_batch_is_the_samples_one_by_one(section: Callable[..., ExtractMasks]) -> None:
    samples = [noise(seed) for seed in range(5)]
    for method in METHODS[:3]:
        chosen = section(method, refine="guided")
        together = extract(samples, VALUES, chosen)
        for mask, each in zip(together, samples, strict=True):
            alone = one([each], chosen)
            assert (mask.label == alone.label).all()
            assert np.abs(mask.reliability.astype(int) - alone.reliability).max() <= 2


def test_batches_hold_equal_shapes_and_every_sample_once() -> None:
    two, single = halves(), halves()[:1]
    samples = [sampled(two, ["car", "dog"]), sampled(single, ["car"]), sampled(two, ["dog", "dog"])]
    samples += [sampled(single, ["dog"]), sampled(single, ["dog"], side=12)]
    assert list(batches(samples, 2)) == [[0], [1, 2], [3], [4]]
    assert list(batches(samples, 9)) == [[0], [1, 2, 3], [4]]
