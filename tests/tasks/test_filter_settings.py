from collections.abc import Callable

import pytest

from tasks.filter_settings import with_settings
from tasks.params import InputError, Params, Quantile

Make = Callable[..., Params]


def test_values_are_those_of_yaml_and_others_stay(make_params: Make) -> None:
    params = make_params({"filter_masks.min_area": 0.1, "filter_masks.max_dark": 0.5})
    tried = with_settings(params, ("min_area={quantile: 0.05}", "max_dark=null", "seed=3"))
    assert tried.filter_masks.min_area == Quantile(quantile=0.05)
    assert tried.filter_masks.max_dark is None
    assert tried.filter_masks.seed == 3
    assert tried.filter_masks.max_area == params.filter_masks.max_area
    assert params.filter_masks.min_area == 0.1


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("min_area", "no KEY=VALUE of filter_masks; its keys are min_area, max_area"),
        ("min_aera=0.1", "no KEY=VALUE of filter_masks; its keys are min_area, max_area"),
        ("min_aera=0.1", r".*; did you mean min_area\?"),
        ("min_area={quantile:0.95}", "YAML wants a space .*: min_area={quantile: 0.95}"),
        ("min_area=[1", "'\\[1' is no value of YAML"),
        ("min_area=2", "filter_masks.min_area: must be a number from 0 to 1"),
        ("min_area=0.9", "min_area must be below max_area, not 0.9 and 0.8"),
    ],
)
def test_a_preview_takes_what_the_parameters_take(
    make_params: Make, setting: str, said: str
) -> None:
    with pytest.raises(InputError, match=f"^--preview .*{said}"):
        with_settings(make_params(), (setting,))
