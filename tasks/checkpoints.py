"""Trained networks as files: our ``weights.pth`` and the checkpoints of MMSegmentation.

Ours is a plain state dict. One of MMSegmentation holds it under ``state_dict``, beside the names of
its classes and the state of its training. Nothing is run from a file: only tensors and the plain
values of MMEngine's records are read (``weights_only``). Imports torch only to read one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.params import InputError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "weights.pth"
"""What `tasks.segmentation.train` calls its weights."""
WRAPPED = ("state_dict", "model")
"""Under what a checkpoint holds its state dict: MMEngine's, and those of many backbones."""
MADE_BY_THE_RUN = ("models/segmenter", "models/reference")


@dataclass(frozen=True)
class Checkpoint:
    """What was read of a file.

    Attributes:
        weights: name -> tensor, on the CPU.
        class_names: by label value, where the file tells them.
    """

    weights: "dict[str, Tensor]"
    class_names: tuple[str, ...] | None


def find_initial(init_from: str, root: Path) -> Path | None:
    """The file of ``train_segmenter.init_from``, or None for ``none``.

    Raises:
        InputError: it is not there, or the run itself would write it.
    """
    if init_from == "none":
        return None
    key, path = "train_segmenter.init_from", root / init_from
    for made in MADE_BY_THE_RUN:
        if path.resolve().is_relative_to((root / made).resolve()):
            raise InputError(
                f"{key}: {init_from} is replaced by this very run; copy it first, such as "
                f"`cp -r {made} models/pretrained`, and name the copy"
            )
    found = path / WEIGHTS if path.is_dir() else path
    if not found.is_file():
        what = f"holds no {WEIGHTS}" if path.is_dir() else "does not exist"
        raise InputError(
            f"{key}: {init_from} {what}; give a folder such as a copy of models/segmenter, a "
            "checkpoint of MMSegmentation, or none"
        )
    return found


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a state dict or a checkpoint of MMSegmentation, of version 0.x or 1.x.

    Raises:
        InputError: the file is damaged, holds something else, or objects that only code could make.
    """
    import torch
    from mmengine.runner.checkpoint import get_torch_safe_globals

    try:
        with torch.serialization.safe_globals(get_torch_safe_globals()):
            content: Any = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # of torch, of zipfile, of pickle: whatever the bytes lead to
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: cannot be read as weights: {what}; save it again with "
            "torch.save(model.state_dict(), ...)"
        ) from None
    weights: Any = None
    if isinstance(content, dict):
        inside = (content.get(key) for key in WRAPPED)
        weights = next((found for found in inside if isinstance(found, dict)), content)
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in weights.items()
    ):
        raise InputError(
            f"{path}: holds no weights; give a state dict, or a checkpoint with one under "
            f"{' or '.join(WRAPPED)}"
        )
    plain = {name.removeprefix("module."): value for name, value in weights.items()}
    return Checkpoint(plain, _class_names(content.get("meta")))


def _class_names(meta: Any) -> tuple[str, ...] | None:
    if not isinstance(meta, dict):
        return None
    dataset = meta.get("dataset_meta")  # of 1.x
    names = dataset.get("classes") if isinstance(dataset, dict) else meta.get("CLASSES")
    return tuple(map(str, names)) if isinstance(names, list | tuple) else None
