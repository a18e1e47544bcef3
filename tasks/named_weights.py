"""Files of weights that a config names itself, such as those of a backbone: ``pretrained``.

MMEngine reads them when a training begins, and runs what a file holds that it cannot read safely.
So each is looked for and read here first. Imports torch only to read one.
"""

from pathlib import Path
from typing import Any

from tasks.checkpoints import read_checkpoint
from tasks.params import InputError
from tasks.training_config import load_config, refuse_downloads

KEYS = ("pretrained", "checkpoint", "checkpoint_path")
"""Where a model's config names a file; the last is timm's."""


def find_named(config: str, root: Path) -> dict[str, Path]:
    """The `named_weights` of a config file; nothing that it names by ``custom_imports`` is loaded.

    Args:
        config: ``train_segmenter.config``.
        root: the repository root.

    Raises:
        InputError: the config cannot be read, or names a file that is missing or an address.
    """
    try:
        cfg = load_config(root / config, modules=False)
    except Exception as error:  # whatever Python makes of the file
        raise InputError(
            f"train_segmenter.config: {config} cannot be read: {type(error).__name__}: {error}; "
            "mmseg_configs/README.md says what a config needs"
        ) from None
    model = cfg.get("model", {})  # that keys are missing, `tasks.training_checks` says
    refuse_downloads(model, config)
    return named_weights(model)


def named_weights(model: Any) -> dict[str, Path]:
    """The files that a model's config names: what is written -> the file.

    Raises:
        InputError: one is missing.
    """
    found: dict[str, Path] = {}
    items = model.items() if isinstance(model, dict) else enumerate(model)
    for key, value in items:
        if isinstance(value, dict | list | tuple):
            found |= named_weights(value)
        elif key in KEYS and value and isinstance(value, str):
            found[value] = Path(value).expanduser()
            if not found[value].is_file():
                raise InputError(
                    f"train_segmenter.config: {key}: {value} does not exist; put the file there, "
                    "or write None for random weights"
                )
    return found


def check_named(model: Any) -> None:
    """Read the `named_weights`, so that nothing else reads a file that would run code.

    Raises:
        InputError: one is missing or damaged, or holds more than weights and plain values.
    """
    for path in named_weights(model).values():
        try:
            read_checkpoint(path)
        except InputError as error:
            raise InputError(f"train_segmenter.config: {error}") from None
