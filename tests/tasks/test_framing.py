"""Windows keep the aspect, lie inside the image, and come once each."""

import numpy as np
import pytest

from tasks.framing import buckets, fit, nearest_bucket, windows


def ramp(height: int, width: int) -> np.ndarray:
    """Red is the row, green the column."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.mgrid[:height, :width]
    return image


def test_buckets_have_about_one_area_and_sides_of_whole_steps() -> None:
    sizes = buckets((512, 512), 8)
    assert (512, 512) in sizes
    assert sizes == sorted(sizes, key=lambda size: size[0] / size[1])
    assert sizes[0] == (320, 768) and sizes[-1] == (768, 320)
    for height, width in sizes:
        assert height % 64 == 0 and width % 64 == 0
        assert abs(height * width / 512**2 - 1) < 0.07
        assert max(height, width) <= 2.5 * min(height, width)


def test_small_images_have_buckets_of_the_models_own_step() -> None:
    wide = [(40, 96), (48, 88), (48, 80), (56, 72)]
    assert buckets((64, 64), 8) == [*wide, (64, 64), *(size[::-1] for size in reversed(wide))]


@pytest.mark.parametrize(
    ("image", "expected"),
    [((1024, 2048), (384, 704)), ((480, 640), (448, 576)), ((600, 600), (512, 512)),
     ((5000, 100), (768, 320))],
)  # fmt: skip
def test_an_image_goes_to_the_bucket_of_its_aspect(
    image: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert nearest_bucket(image, buckets((512, 512), 8)) == expected


@pytest.mark.parametrize(
    ("image", "window", "expected"),
    [((100, 200), (50, 50), (50, 100)), ((20, 30), (40, 40), (40, 60)),
     ((64, 64), (64, 64), (64, 64)), ((33, 100), (32, 96), (32, 97))],
)  # fmt: skip
def test_an_image_is_resized_until_the_window_just_fits(
    image: tuple[int, int], window: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert fit(ramp(*image), window).shape[:2] == expected


def test_windows_are_parts_of_the_image_and_come_once() -> None:
    found = windows(ramp(8, 20), (8, 8), 50, np.random.default_rng(0))
    lefts = found[:, 0, 0, 1]
    assert sorted(lefts) == list(range(13))  # all places that there are
    for left, window in zip(lefts, found, strict=True):
        assert np.array_equal(window, ramp(8, 20)[:, left : left + 8])
    assert len(windows(ramp(8, 8), (8, 8), 4, np.random.default_rng(0))) == 1


def test_the_same_seed_draws_the_same_windows() -> None:
    first, again, other = (
        windows(ramp(16, 200), (16, 16), 3, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)
