"""The reading of ``params.yaml`` and of the class list that it names."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tasks.class_lists import read_class_list
from tasks.params.errors import InputError, describe
from tasks.params.whole import Params


def load_params(path: Path = Path("params.yaml"), lists: Path | None = Path()) -> Params:
    """Read and check ``params.yaml``, the class list that it names included.

    Args:
        lists: where the path of ``expand_prompts.classes_file`` begins; None leaves the list
            unread, and it stands for one class, so that a preset can be checked without it.

    Raises:
        InputError: the file is missing, is no YAML, or breaks a rule; all violations are listed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; run from the repository root, or choose a preset with "
            "`python -m tasks.presets use storybook`"
        ) from None
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: must hold one mapping with a section per stage")
    if isinstance(raw.get("expand_prompts"), dict):
        try:
            _fill_classes(raw["expand_prompts"], lists)
        except ValueError as error:
            raise InputError(f"{path}: expand_prompts.classes_file: {error}") from None
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise InputError(describe(path, error)) from None


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
        if sense not in position:
            raise ValueError(
                f"{file}: beside a list, expand_prompts.classes only changes classes of it, by "
                f"their sense, and {item!r} is none; drop it, or give `sense:` a wnid of the list"
            )
        listed[position[sense]] = item
    section["classes"] = listed
