"""What `tasks.preflight` asks of the training: whether its network can be built and started.

Imports torch only to build it.
"""

from pathlib import Path

from tasks.digests import DigestCache, combine
from tasks.machine import choose_device
from tasks.params import InputError, Params


def initial_record(start: Path | None, cache: DigestCache) -> dict[str, str]:
    """What the graph needs to know of the initial weights, see `tasks.checkpoints.find_initial`."""
    return {"source": "outside", "digest": cache.file(start)} if start else {"source": "none"}


def pretrained_record(named: dict[str, Path], cache: DigestCache) -> dict[str, str]:
    """What the graph needs to know of `tasks.named_weights.named_weights`."""
    if not named:
        return {"source": "none"}
    digests = {value: cache.file(path) for value, path in named.items()}
    return {"source": "outside", "digest": combine(digests)}


def check_training(params: Params, start: Path | None, root: Path) -> None:
    """Build the network that ``train_segmenter`` describes, and fit the initial weights to it.

    Raises:
        InputError: the config cannot be trained as it is asked, its network cannot be built, or
            weights, initial ones or those that the config names, cannot be read or do not fit.
    """
    from tasks.checkpoints import read_checkpoint
    from tasks.initial_weights import check_fit
    from tasks.named_weights import check_named
    from tasks.segmenter import build_network
    from tasks.training_config import build_config

    section, count = params.train_segmenter, len(params.expand_prompts.label_names)
    try:
        choose_device(section.device)
    except InputError:  # `tasks.machine` says so; the config is looked at all the same
        section = section.model_copy(update={"device": "cpu", "dtype": "float32"})
    try:
        cfg = build_config(section, {}, None, count, reliability=True, root=root)
        check_named(cfg.model)  # before anything else reads them: timm does while it is built
        network = build_network(cfg)
    except InputError:
        raise
    except Exception as error:  # whatever MMSegmentation makes of a config
        raise InputError(
            f"train_segmenter.config: {section.config} cannot be built: "
            f"{type(error).__name__}: {error}"
        ) from None
    if start:
        check_fit(network, read_checkpoint(start).weights, start)
