"""The reading of ``params.yaml`` and of the class list that it names."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from yaml.constructor import ConstructorError

from tasks.class_lists import read_class_list
from tasks.params.errors import InputError, describe
from tasks.params.whole import Params


def load_params(path: Path = Path("params.yaml"), lists: Path | None = Path()) -> Params:
    """Read and check ``params.yaml``, the class list that it names included.

    Args:
        lists: where the path of ``expand_prompts.classes_file`` begins; None leaves the list
            unread, and it stands for one class, so that a preset can be checked without it.

    Raises:
        InputError: the file cannot be read (see `read_raw`), or breaks a rule; all violations are
            listed.
    """
    raw = read_raw(path)
    if isinstance(raw.get("expand_prompts"), dict):
        try:
            _fill_classes(raw["expand_prompts"], lists)
        except ValueError as error:
            raise InputError(f"{path}: expand_prompts.classes_file: {error}") from None
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise InputError(describe(path, error)) from None


def read_raw(path: Path) -> dict[str, Any]:
    """What ``params.yaml`` or a preset says, its rules unchecked.

    Raises:
        InputError: the file is missing, is no text in UTF-8, no YAML, or no mapping.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; run from the repository root, or choose a preset with "
            "`python -m tasks.presets use storybook`"
        ) from None
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        raise InputError(
            f"{path}: line {line}: byte 0x{error.object[error.start]:02x} is no UTF-8 text; save "
            "the file in UTF-8"
        ) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: must hold one mapping with a section per stage")
    return raw


class _Loader(yaml.SafeLoader):
    """Tells where a value stands that only looks like a date or a number, such as 2024-13-45."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            raise ConstructorError(None, None, str(error), node.start_mark) from None


def _fill_classes(section: dict[str, Any], lists: Path | None) -> None:
    """Put the classes of ``classes_file`` in; those under ``classes`` replace their sense's."""
    file, own = section.get("classes_file"), section.get("classes")
    if not isinstance(file, str) or file in ("", "none") or not isinstance(own, list):
        return
    if lists is None:
        section["classes"] = [{"name": file}]
        return
    listed = read_class_list(lists / file)
    position = {item["sense"]: number for number, item in enumerate(listed)}
    for item in own:
        sense = item.get("sense") if isinstance(item, dict) else None
        if not isinstance(sense, str) or sense not in position:
            raise ValueError(
                f"{file}: beside a list, expand_prompts.classes only changes classes of it, by "
                f"their sense, and {item!r} is none; drop it, or give `sense:` a wnid of the list"
            )
        listed[position[sense]] = item
    section["classes"] = listed
