"""A trained segmentation network at work: images in, label maps out."""

import itertools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn

import mmseg_configs.reliability  # noqa: F401  what configs name
from tasks.label_maps import IGNORE
from tasks.machine import choose_device
from tasks.params import InputError

LABEL_LOADERS = ("LoadAnnotations", "LoadLabelMap")


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
        folder: holds ``config.py`` and ``weights.pth``, see `tasks.segmentation.train`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        window: height and width of sliding windows, in pixels, which overlap by a third; None
            takes whole images.
        flip: label the mirror image too.
        scales: label the image at each of these sizes, as factors. Over all variants the
            probabilities are averaged.

    Raises:
        InputError: the weights are those of another network.
    """

    def __init__(
        self,
        folder: Path,
        device: str = "auto",
        window: tuple[int, int] | None = None,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
    ) -> None:
        cfg = Config.fromfile(folder / "config.py")
        network: Any = build_network(cfg)
        load_weights(network, folder / "weights.pth")
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
        self.dtype = np.uint8 if class_count(network) <= IGNORE else np.uint16
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


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a state dict.

    Raises:
        InputError: it is that of another network.
    """
    weights = torch.load(path, weights_only=True, map_location="cpu")
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise InputError(
            f"{path}: these are the weights of another network than {path.parent / 'config.py'} "
            f"describes; train again, or put the config beside them that they belong to. {first}"
        ) from None


def class_count(network: Any) -> int:
    """How many classes a network tells apart, one in a test-time augmentation included."""
    return int(getattr(network, "module", network).num_classes)
