"""Which pixels get which label in all methods, and which get none."""

from collections.abc import Callable

import numpy as np
import pytest

from tasks.masks import Sampled, class_maps, drop_small, extract, score_stack
from tasks.params import ExtractMasks
from tests.toys.masks import METHODS, VALUES, halves, noise, one, sampled


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
