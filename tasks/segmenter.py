"""A trained segmentation network at work: images in, label maps out.

Networks trained here and those of MMSegmentation alike.
"""

import itertools
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor, nn

import mmseg_configs.reliability  # noqa: F401  what configs name
from tasks.checkpoints import WEIGHTS, read_checkpoint
from tasks.label_maps import label_dtype
from tasks.machine import choose_device
from tasks.params import InputError
from tasks.training_config import LABEL_LOADERS, load_config


def build_network(cfg: Config) -> nn.Module:
    """The network that a config describes, with fresh weights."""
    init_default_scope("mmseg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MMSegmentation about its own defaults
        network: nn.Module = MODELS.build(cfg.model)
    return network


class Segmenter:
    """A trained network, ready to label images.

    Args:
        model: a folder with ``config.py`` and ``weights.pth``, see `tasks.segmentation.train`, and
            maybe ``classes.json``; or a config file of MMSegmentation.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        window: height and width of sliding windows, in pixels, which overlap by a third; None
            takes whole images.
        flip: label the mirror image too.
        scales: label the image at each of these sizes, as factors. Over all variants the
            probabilities are averaged.
        checkpoint: the weights of a config file.

    Attributes:
        network: on the device; in test-time augmentation, the wrapper around it.
        class_names: by label value: what the folder or the checkpoint says, or else the values.

    Raises:
        InputError: a file is missing or cannot be read, or the weights are those of another
            network.
    """

    def __init__(
        self,
        model: Path,
        device: str = "auto",
        window: tuple[int, int] | None = None,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        checkpoint: Path | None = None,
    ) -> None:
        config, weights = find_network(model, checkpoint)
        cfg = load_config(config)
        if "test_pipeline" not in cfg:
            raise InputError(f"{config}: has no test_pipeline, which says how to read an image")
        network: Any = build_network(cfg)
        read = read_checkpoint(weights)
        load_weights(network, read.weights, weights, config)
        network.to(choose_device(device)).eval()
        if window:
            stride = tuple(max(1, 2 * side // 3) for side in window)
            network.test_cfg = ConfigDict(mode="slide", crop_size=window, stride=stride)
        steps = [dict(step) for step in cfg.test_pipeline if step["type"] not in LABEL_LOADERS]
        steps[0]["type"] = "LoadImageFromNDArray"
        if flip or tuple(scales) != (1.0,):
            network = MODELS.build({"type": "SegTTAModel", "module": network}).eval()
            sizes = [{"type": "Resize", "scale_factor": factor} for factor in scales]
            mirrors = [{"type": "RandomFlip", "prob": float(turn)} for turn in {False, flip}]
            steps[-1] = {"type": "TestTimeAug", "transforms": [sizes, mirrors, [steps[-1]]]}
        self.network = network
        count = class_count(network)
        self.class_names = label_names(model, read.class_names, count)
        self.dtype = label_dtype(count)
        self.pipeline = Compose(steps)

    def label(self, images: Iterable[np.ndarray], batch_size: int = 32) -> Iterator[np.ndarray]:
        """Label maps of images, in their order.

        Args:
            images: RGB, ``uint8 (H, W, 3)``; sizes may differ.
            batch_size: images at once, as long as they follow each other with the same size.

        Yields:
            ``uint8 (H, W)``, the class of each pixel; ``uint16`` from 256 classes on.
        """
        for (height, width, _), same_size in itertools.groupby(images, np.shape):
            prepared = (self.pipeline({"img": image[..., ::-1]}) for image in same_size)
            while batch := list(itertools.islice(prepared, batch_size)):
                with torch.no_grad():
                    samples = self.network.test_step(pseudo_collate(batch))
                for sample in samples:
                    label = sample.pred_sem_seg.data.reshape(height, width)
                    yield label.cpu().numpy().astype(self.dtype)


def find_network(model: Path, checkpoint: Path | None) -> tuple[Path, Path]:
    """The config and the weights of a network, see `Segmenter`.

    Raises:
        InputError: one is missing, or not told.
    """
    if model.is_dir():
        if checkpoint:
            raise InputError(
                f"{model}: a folder has its own {WEIGHTS}; name a config file beside a checkpoint"
            )
        config, weights = model / "config.py", model / WEIGHTS
    elif checkpoint:
        config, weights = model, checkpoint
    else:
        raise InputError(
            f"{model}: is no folder with config.py and {WEIGHTS}; train one, or name a config file "
            "of MMSegmentation and its checkpoint"
        )
    for path in (config, weights):
        if not path.is_file():
            raise InputError(f"{path}: no such file; a network needs its config and its weights")
    return config, weights


def label_names(model: Path, known: Sequence[str] | None, count: int) -> list[str]:
    """Class names by label value: those of ``classes.json``, those ``known``, or the values.

    Raises:
        InputError: there are other than ``count`` of them.
    """
    listed = model / "classes.json"
    names = json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() else known
    if names is None:
        return [str(value) for value in range(count)]
    if len(names) != count:
        raise InputError(
            f"{model}: names {len(names)} classes, and the network tells {count} apart; put the "
            "config beside the weights that it belongs to"
        )
    return list(names)


def load_weights(
    network: nn.Module, weights: Mapping[str, Tensor], path: Path, config: Path
) -> None:
    """Load a state dict.

    Args:
        network: changed in place.
        weights: see `tasks.checkpoints.read_checkpoint`.
        path, config: where weights and network come from, for the message.

    Raises:
        InputError: it is that of another network.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise InputError(
            f"{path}: these are the weights of another network than {config} "
            f"describes; train again, or put the config beside them that they belong to. {first}"
        ) from None


def class_count(network: Any) -> int:
    """How many classes a network tells apart, one in a test-time augmentation included."""
    return int(getattr(network, "module", network).num_classes)
