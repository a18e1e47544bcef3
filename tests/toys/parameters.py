"""Parameters to change and to check, and the shortest pipeline that they describe."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.grids import merged
from tasks.params import InputError, Params, load_params
from tasks.records import PROMPTS, write_json

ROOT = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((ROOT / "presets/storybook.yaml").read_text(encoding="utf-8"))


def change(raw: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Set dotted keys in a params mapping; ... removes one."""
    for key, value in changes.items():
        *path, last = key.split(".")
        place = raw
        for part in path:
            place = place[part]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return raw


@pytest.fixture
def make_params() -> Callable[..., Params]:
    """The default preset's parameters with some dotted keys changed."""

    def make(changes: dict[str, Any] | None = None) -> Params:
        return Params.model_validate(change(deepcopy(DEFAULT), changes or {}))

    return make


@pytest.fixture
def write_plan(make_params: Callable[..., Params]) -> Callable[..., Params]:
    """Writes what `sample_images` reads: prompts of two classes, next to no steps."""
    from tasks.model_digest import model_digest
    from tasks.prompts import expand
    from tasks.records import write_rows

    def write(root: Path, images_per_class: int = 6, **changes: Any) -> Params:
        params = make_params(
            {
                "expand_prompts.classes": ["car", "dog"],
                "expand_prompts.images_per_class": images_per_class,
                "sample_images.model": str(ROOT / "models/storybook-sd"),
                "sample_images.num_inference_steps": 1,
                "sample_images.batch_size": 2,
                "sample_images.shard_size": 4,
                "sample_images.device": "cpu",
                **{key.replace("__", "."): value for key, value in changes.items()},
            }
        )
        write_rows(root / "data/prompts.parquet", expand(params.expand_prompts), PROMPTS)
        digest = model_digest(params.sample_images.model, root)
        write_json(root / "data/inputs/model.json", {"digest": digest})
        write_json(root / "models/lora/adapter.json", {"source": "none", "digest": None})
        return params

    return write


def load(folder: Path, **changes: Any) -> Params:
    """The default parameters with dotted keys changed (``__`` is the dot); ... removes one."""
    raw = change(deepcopy(DEFAULT), {key.replace("__", "."): new for key, new in changes.items()})
    (folder / "params.yaml").write_text(json.dumps(raw), encoding="utf-8")
    return load_params(folder / "params.yaml")


def message(folder: Path, **changes: Any) -> str:
    """What is said of the default parameters with dotted keys changed, as `load` does."""
    with pytest.raises(InputError) as caught:
        load(folder, **changes)
    return str(caught.value).replace(str(folder / "params.yaml"), "params.yaml")


def nested(key: str, value: Any) -> dict[str, Any]:
    """``a.b`` and a value as ``{a: {b: value}}``."""
    for part in reversed(key.split(".")):
        value = {part: value}
    result: dict[str, Any] = value
    return result


def check_params(changes: dict[str, Any]) -> None:
    """Whether these are parameters, with values that may be."""
    try:
        Params.model_validate(merged(DEFAULT, changes))
    except ValueError as error:
        raise AssertionError(str(error)) from None
