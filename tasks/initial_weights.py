"""The start of a training from a network that was trained on something else.

What fits by name and shape is loaded: usually all but the layers that tell the classes apart. What
was loaded and what was not is counted, logged and kept in ``training.json``.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from tasks.checkpoints import WEIGHTS, read_checkpoint
from tasks.labelled_sets import some
from tasks.params import InputError

log = logging.getLogger(__name__)

LEAST_SHARE = 0.5
"""Of the backbone's numbers that must fit: two backbones have a few shapes in common by chance."""
_NETWORK = re.compile(r"^networks\.\d\.")
"""What `CoTrainingSegmentor` puts before the names of either network."""


@dataclass(frozen=True)
class InitialWeights:
    """Where a training starts from.

    Attributes:
        path: the file, see `tasks.checkpoints.find_initial`.
        digest: its SHA-256.
    """

    path: Path
    digest: str


def sources(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Name in the network -> name in ``weights`` of what fits there.

    Of two networks that were trained together, a single one takes the first. Two take what a single
    one has, but for the second one's classifiers (``conv_seg``): alike, they could teach each other
    nothing.
    """
    found = {}
    for name, value in network.state_dict().items():
        bare = _NETWORK.sub("", name)
        source = next((n for n in (name, bare, f"networks.0.{name}") if n in weights), None)
        if source is None or weights[source].shape != value.shape:
            continue
        if name.startswith("networks.1.") and source == bare and ".conv_seg." in name:
            continue
        found[name] = source
    return found


def check_fit(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> dict[str, str]:
    """The `sources`, if they fill the backbone.

    Raises:
        InputError: less than `LEAST_SHARE` of it fits: the file is of another architecture.
    """
    found = sources(network, weights)
    sizes = {
        name: value.numel()
        for name, value in network.state_dict().items()
        if _NETWORK.sub("", name).startswith("backbone.")
    }
    share = sum(size for name, size in sizes.items() if name in found) / sum(sizes.values())
    if share < LEAST_SHARE:
        count = sum(name in found for name in sizes)
        raise InputError(
            f"train_segmenter.init_from: {path} is the checkpoint of another architecture: of the "
            f"backbone's {len(sizes)} tensors {count} fit by name and shape, {share:.0%} of its "
            "numbers; give one of the network that train_segmenter.config describes, or none (the "
            "weights of a backbone alone belong into the config's `pretrained`)"
        )
    return found


def known_names(path: Path, told: Sequence[str] | None) -> list[str] | None:
    """Class names of initial weights: of ``classes.json`` beside them, or what the file told."""
    listed = path.with_name("classes.json")
    if path.name == WEIGHTS and listed.is_file():
        return list(json.loads(listed.read_text(encoding="utf-8")))
    return list(told) if told else None


def load_initial(
    network: nn.Module, start: InitialWeights, class_names: Sequence[str]
) -> dict[str, Any]:
    """Load what fits, in place; no classifiers (``conv_seg``) of classes known to be others.

    Args:
        class_names: of the training, by label value.

    Returns:
        ``digest`` of the file; ``loaded`` and ``fresh``, tensors of the network that were loaded
        and that kept their random start; ``unused``, tensors of the file that have no place;
        ``fresh_head_layers`` and ``unused_head_layers``, which layers of heads are among these;
        ``other_classes``, whether the file is known to tell other classes apart, or in another
        order.

    Raises:
        InputError: the file cannot be read, or is that of another architecture.
    """
    read = read_checkpoint(start.path)
    weights = read.weights
    found = check_fit(network, weights, start.path)
    known = known_names(start.path, read.class_names)
    other_classes = known is not None and known != list(class_names)
    if other_classes:
        found = {name: source for name, source in found.items() if ".conv_seg." not in name}
    network.load_state_dict({name: weights[source] for name, source in found.items()}, strict=False)
    fresh = [name for name in network.state_dict() if name not in found]
    unused = sorted(weights.keys() - set(found.values()))
    fresh_layers = head_layers(fresh)
    report = {
        "digest": start.digest,
        "loaded": len(found),
        "fresh": len(fresh),
        "fresh_head_layers": fresh_layers,
        "unused": len(unused),
        "unused_head_layers": head_layers(unused),
        "other_classes": other_classes,
    }
    log.info(
        "%s: %d tensors loaded; %d not, layers of heads among them: %s; %d of the file not used",
        start.path,
        report["loaded"],
        report["fresh"],
        some(fresh_layers) or "none",
        report["unused"],
    )
    return report


def head_layers(names: Iterable[str]) -> list[str]:
    """The layers of heads that these tensors belong to, sorted."""
    layers = {name.rpartition(".")[0] for name in names}
    return sorted(layer for layer in layers if "head" in _NETWORK.sub("", layer).partition(".")[0])


class InitialWeightsHook(Hook):
    """Loads the initial weights before the first iteration; what it loaded survives a resume.

    MMEngine draws the random weights just before that, so nothing can be loaded earlier.

    Attributes:
        report: see `load_initial`.
    """

    priority = "VERY_HIGH"

    def __init__(self, start: InitialWeights) -> None:
        self.start = start
        self.report: dict[str, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Load, unless the training goes on from a checkpoint."""
        if not runner.iter:
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            names = runner.train_dataloader.dataset.metainfo["classes"]
            self.report = load_initial(model, self.start, names)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put the report in."""
        checkpoint["initial_weights"] = self.report

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Take the report out."""
        self.report = checkpoint["initial_weights"]
