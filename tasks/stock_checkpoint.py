"""One network of a training as MMSegmentation's own files: a checkpoint, and a config beside it.

Neither names anything of this project, so that `mmseg.apis.init_model` loads them anywhere.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict

from mmseg_configs.reliability import CoTrainingSegmentor
from mmseg_configs.reliability.dataset import metainfo
from tasks.durable import new_file
from tasks.exported_networks import WEIGHTS_MD5, source_md5
from tasks.params import InputError
from tasks.segmenter import Segmenter, build_network, find_network, load_weights
from tasks.training_config import load_config

OWN_ARGUMENTS = ("method", "least", "quantile", "sharpness")
"""Of `ReliabilityEncoderDecoder`, beside those of `EncoderDecoder`."""
OWN_LOSSES = ("ReliabilityCrossEntropy", "GeneralisedCrossEntropy")
STOCK_TYPES = {
    "LoadLabelMap": "LoadAnnotations",
    "ReliabilityDataPreProcessor": "SegDataPreProcessor",
    "ReliabilityEncoderDecoder": "EncoderDecoder",
}


def stock_config(cfg: Config) -> Config:
    """``model`` and ``test_pipeline`` for MMSegmentation alone, of one network.

    Losses of our own become plain cross-entropy: they are not used where nothing is trained.
    """
    model = deepcopy(cfg.model)
    if model.type == "CoTrainingSegmentor":
        model = ConfigDict(**model.segmentor, data_preprocessor=model.data_preprocessor)
    for name in OWN_ARGUMENTS:
        model.pop(name, None)
    stock = Config(
        {"default_scope": "mmseg", "model": model, "test_pipeline": deepcopy(cfg.test_pipeline)}
    )
    _rename(stock._cfg_dict)
    return stock


def _rename(part: Any) -> None:
    if isinstance(part, dict):
        if part.get("type") in OWN_LOSSES:
            weight = part.get("loss_weight", 1.0)
            part.clear()
            part.update(type="CrossEntropyLoss", loss_weight=weight, avg_non_ignore=True)
        elif part.get("type") in STOCK_TYPES:
            part["type"] = STOCK_TYPES[part["type"]]
    if isinstance(part, dict | list | tuple):
        for inner in part.values() if isinstance(part, dict) else part:
            _rename(inner)


def export_checkpoint(
    model: Path, path: Path, checkpoint: Path | None = None, network: int | None = None
) -> Path:
    """Write the checkpoint ``path`` and, with the suffix ``.py``, its config.

    The checkpoint holds ``state_dict`` and ``meta``, whose ``dataset_meta`` names the classes; the
    MD5 of the weights stands there too, see `tasks.exported_networks`.

    Args:
        model, checkpoint: see `tasks.segmenter.Segmenter`.
        path: ends in ``.pth``.
        network: which one of two that were trained together, 0 or 1; None where there is one.

    Returns:
        The config's path.

    Raises:
        InputError: a file exists, or ``network`` does not fit the model.
    """
    config = path.with_suffix(".py")
    for target in (path, config):
        if target.exists():
            raise InputError(f"{target}: exists; choose another name, or remove it first")
    segmenter = Segmenter(model, "cpu", checkpoint=checkpoint)
    trained: Any = segmenter.network
    if isinstance(trained, CoTrainingSegmentor):
        if network is None:
            raise InputError(
                f"--network: {model} has two networks and a checkpoint of MMSegmentation one; "
                "choose 0 or 1 (.pt and .onnx take both)"
            )
        content = trained.export(network)
    elif network is not None:
        raise InputError(f"--network: {model} has one network; leave it out")
    else:
        content = {"state_dict": trained.state_dict()}
    trained_config, weights = find_network(model, checkpoint)
    content["meta"] = {
        "dataset_meta": metainfo(segmenter.class_names),
        WEIGHTS_MD5: source_md5(weights),
    }
    stock = stock_config(load_config(trained_config))
    load_weights(build_network(stock), content["state_dict"], path, config)
    path.parent.mkdir(parents=True, exist_ok=True)
    stock.dump(config)
    with new_file(path) as file:
        torch.save(content, file)
    return config
