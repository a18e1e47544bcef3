"""A trained segmentation network at work: images in, label maps out."""

import itertools
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn

import mmseg_configs.reliability  # noqa: F401  what configs name
from tasks.machine import choose_device


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
    """

    def __init__(self, folder: Path, device: str = "auto") -> None:
        cfg = Config.fromfile(folder / "config.py")
        network = build_network(cfg)
        network.load_state_dict(torch.load(folder / "weights.pth", weights_only=True))
        self.network: Any = network.to(choose_device(device)).eval()
        steps = [dict(step) for step in cfg.test_pipeline if step["type"] != "LoadAnnotations"]
        steps[0]["type"] = "LoadImageFromNDArray"
        self.pipeline = Compose(steps)

    def label(self, images: Iterable[np.ndarray], batch_size: int = 32) -> Iterator[np.ndarray]:
        """Label maps of images, in their order.

        Args:
            images: RGB, ``uint8 (H, W, 3)``; sizes may differ.
            batch_size: images at once, as long as they follow each other with the same size.

        Yields:
            ``uint8 (H, W)``, the class of each pixel.
        """
        prepared = (self.pipeline({"img": image[..., ::-1]}) for image in images)
        for _, same_size in itertools.groupby(prepared, lambda item: item["inputs"].shape):
            while batch := list(itertools.islice(same_size, batch_size)):
                with torch.no_grad():
                    samples = self.network.test_step(pseudo_collate(batch))
                for sample in samples:
                    yield sample.pred_sem_seg.data[0].to(torch.uint8).cpu().numpy()
