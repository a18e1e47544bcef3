"""What `tasks.preflight` asks of the initial weights: their content, and whether they fit.

Imports torch only to open them.
"""

from pathlib import Path

from tasks.digests import DigestCache
from tasks.params import Params


def initial_record(start: Path | None, cache: DigestCache) -> dict[str, str]:
    """What the graph needs to know of the initial weights, see `tasks.checkpoints.find_initial`."""
    return {"source": "outside", "digest": cache.file(start)} if start else {"source": "none"}


def check_initial(start: Path, params: Params, root: Path) -> None:
    """Whether the weights fit the network that ``train_segmenter`` describes.

    Raises:
        InputError: they do not, cannot be read, or the config cannot be trained as it is asked.
    """
    from tasks.checkpoints import read_checkpoint
    from tasks.initial_weights import check_fit
    from tasks.segmenter import build_network
    from tasks.training_config import build_config

    count = len(params.expand_prompts.label_names)
    cfg = build_config(params.train_segmenter, {}, None, count, reliability=True, root=root)
    check_fit(build_network(cfg), read_checkpoint(start).weights, start)
