"""Other values for ``filter_masks`` than those of params.yaml, to try. Imports no torch."""

import re
from difflib import get_close_matches

import yaml
from pydantic import ValidationError

from tasks.params import InputError, Params


def with_settings(params: Params, settings: tuple[str, ...]) -> Params:
    """The parameters with other values in ``filter_masks``.

    Args:
        settings: such as ``min_area=0.06``; values are YAML, as in params.yaml.

    Raises:
        InputError: one is no setting, or breaks a rule of params.yaml.
    """
    values = params.model_dump(mode="json")
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or key not in values["filter_masks"]:
            near = get_close_matches(key, values["filter_masks"], 1)
            meant = f"; did you mean {near[0]}?" if equals and near else ""
            raise InputError(
                f"--preview {setting}: is no KEY=VALUE of filter_masks; its keys are "
                f"{', '.join(values['filter_masks'])}{meant}"
            )
        if re.fullmatch(r"\{\s*\w+:[^\s{}][^{}]*\}", text):
            raise InputError(
                f"--preview {setting}: YAML wants a space behind the colon: {key}="
                f"{text.replace(':', ': ', 1)}"
            )
        try:
            values["filter_masks"][key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"--preview {setting}: {text!r} is no value of YAML") from None
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'filter_masks'}: "
            + one["msg"].removeprefix("Value error, ")
            for one in error.errors()
        )
        raise InputError(f"--preview {' '.join(settings)}: {told}") from None
