import numpy as np
import pytest

from tasks.captures import Captured, decode_capture, merge_phrases
from tasks.params import InputError


def captured() -> Captured:
    rng = np.random.default_rng(0)
    cross = {
        (step, size): rng.random((2, *size)).astype(np.float16)
        for step in ("middle", "all")
        for size in ((4, 6), (2, 3))
    }
    return Captured(cross, {(2, 3): rng.random((6, 6)).astype(np.float16)})


def test_what_was_kept_comes_back() -> None:
    kept = captured()
    read = decode_capture(kept.encode())
    assert read.cross.keys() == kept.cross.keys()
    for key, value in kept.cross.items():
        assert read.cross[key].dtype == np.float16
        assert np.array_equal(read.cross[key], value)
    assert np.array_equal(read.self_attention[2, 3], kept.self_attention[2, 3])


def test_the_bytes_do_not_depend_on_the_order_of_reading() -> None:
    kept = captured()
    turned = Captured(dict(reversed(kept.cross.items())), kept.self_attention)
    assert kept.encode() == turned.encode()


def test_self_attention_that_was_not_kept_is_said() -> None:
    assert captured().self_attention_size() == (2, 3)
    with pytest.raises(InputError, match=r"holds no self-attention.*run sample_images again"):
        Captured({}).self_attention_size()


def test_a_part_of_a_larger_array_is_kept_as_it_looks() -> None:
    whole = np.arange(24, dtype=np.float16).reshape(3, 2, 4)
    kept = Captured({("0", (4, 2)): whole[:2].transpose(0, 2, 1)})
    assert np.array_equal(
        decode_capture(kept.encode()).cross["0", (4, 2)], whole[:2].transpose(0, 2, 1)
    )


def test_maps_are_those_of_one_step_largest_first() -> None:
    kept = captured()
    assert [each.shape for each in kept.maps("all", None)] == [(2, 4, 6), (2, 2, 3)]
    assert np.array_equal(kept.maps("middle", (3, 6))[1], kept.cross["middle", (2, 3)])
    assert [each.shape for each in kept.maps("middle", (3,))] == [(2, 2, 3)]


def test_maps_that_were_not_kept_are_said() -> None:
    with pytest.raises(InputError, match=r"no attention of step middle, sides \[12\]; it was samp"):
        captured().maps("middle", (6, 12))
    with pytest.raises(InputError, match=r"no attention of step 5, sides all.*run sample_images"):
        captured().maps(5, None)


def test_phrases_of_one_class_are_merged_by_maximum() -> None:
    maps = np.array([[[1.0, 0.0]], [[0.0, 2.0]], [[0.0, 3.0]]])
    assert merge_phrases(maps, ["car", "dog", "car"]).tolist() == [[[1.0, 3.0]], [[0.0, 2.0]]]
