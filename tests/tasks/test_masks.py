"""How masks are made: what a method reads, how scores are refined, and what they tell."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
import torch

from tasks import masks, records
from tasks.captures import Captured
from tasks.mask_methods import spread_by_self_attention, with_background
from tasks.masks import (
    Sampled,
    batches,
    class_maps,
    extract,
    label_and_margin,
    margin_rank,
    refine,
    score_stack,
)
from tasks.params import ExtractMasks, Params
from tasks.refine import dense_crf, guided_filter
from tasks.score_masks import is_finite
from tasks.verdicts import judge
from tests.toys.masks import METHODS, VALUES, halves, noise, one, sampled


def test_margin_rank_is_per_class_and_ties_share() -> None:
    label = np.array([[0, 0, 0], [1, 1, 2]])
    margin = np.array([[0.1, 0.9, 0.5], [0.3, 0.3, 0.7]])
    assert margin_rank(label, margin).tolist() == [[0, 255, 128], [128, 128, 128]]


def test_margin_is_the_lead_over_the_second_best() -> None:
    stack = torch.tensor([[[[0.8, -0.2]], [[0.0, 1.0]], [[0.5, 0.25]]]])
    label, margin = label_and_margin(stack)
    assert label.tolist() == [[[0, 1]]]
    torch.testing.assert_close(margin, torch.tensor([[[0.3, 0.75]]]))


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
