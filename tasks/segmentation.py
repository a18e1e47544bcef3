"""Training of a segmentation network through MMSegmentation.

A training lives in a folder of its own below ``.maskloom/training``, named by a fingerprint of all
that it is made from. Stopped at any time, it continues there from its last checkpoint; finished, it
leaves a ``finished`` folder with ``weights.pth``, ``config.py`` and ``training.json``.
"""

import itertools
import json
import logging
import os
import shutil
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.runner import Runner
from torch import nn

from tasks import records
from tasks.checkpoints import WEIGHTS
from tasks.digests import CACHE_PATH, DigestCache, combine
from tasks.durable import PARTIAL, remove_abandoned, sync, sync_tree
from tasks.in_use import write_in_use
from tasks.initial_weights import InitialWeights, InitialWeightsHook
from tasks.named_weights import check_named, named_weights
from tasks.params import InputError
from tasks.progress import progress
from tasks.training_hooks import CurvesHook, ProgressHook, kept_weights
from tasks.training_summary import summary

log = logging.getLogger(__name__)

STORE = Path(".maskloom/training")
"""Where trainings live, from the repository root."""
CURVES = Path(".maskloom/tensorboard")
"""Where their live curves are written, if they are asked for."""
CODE = (
    "mmseg_configs/reliability/*.py",
    "tasks/checkpoints.py",
    "tasks/initial_weights.py",
    "tasks/label_maps.py",
    "tasks/labelled_sets.py",
    "tasks/named_weights.py",
    "tasks/segmentation.py",
    "tasks/shards.py",
    "tasks/training_config.py",
    "tasks/training_hooks.py",
    "tasks/training_summary.py",
)
"""The code that a training's result depends on, from the repository root."""
PACKAGES = ("onedl-mmsegmentation", "onedl-mmengine", "onedl-mmcv")
"""Those whose versions it depends on, beside PyTorch's."""

_trainings = itertools.count()
"""MMEngine keeps what it logs by the experiment's name: each training in a process has its own."""


def fingerprint(cfg: Config, data: str, root: Path, start: InitialWeights | None) -> str:
    """The name of a training: a hash of its config, data, start, code and packages' versions.

    Files of weights that the config names count by their bytes; one that is missing is an
    `InputError`.

    Args:
        cfg: see `tasks.training_config.build_config`.
        data: digest of the data that is trained on and validated with.
        root: the repository root.
        start: the weights that it starts from; None: random ones.
    """
    here = Path(__file__).parents[1]
    files = [path for pattern in CODE for path in sorted(here.glob(pattern))]
    code = combine(
        {path.relative_to(here).as_posix(): records.content_id(path.read_text()) for path in files}
    )
    cache = DigestCache(root / CACHE_PATH)
    named = {value: cache.file(path) for value, path in named_weights(cfg.model).items()}
    cache.save()
    versions = [version(name) for name in PACKAGES]
    config = cfg.to_dict() | {"device": cfg.device.partition(":")[0]}  # any GPU of a kind goes on
    said = json.dumps(config, sort_keys=True).replace(str(root.resolve()), "")
    digest = start.digest if start else None
    return records.content_id(
        "training", said, data, digest, named, code, torch.__version__, versions
    )


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the highest iteration that was written to its end, or None."""
    found = sorted(folder.glob("iter_*.pth"), key=lambda path: int(path.stem[5:]), reverse=True)
    return next((path for path in found if zipfile.is_zipfile(path)), None)


class _DeviceRunner(Runner):
    """A `Runner` on the device that the config names; MMEngine would take any GPU it finds."""

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Move the model; channels last is the layout in which convolutions run fastest."""
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # no stub
        model = model.to(self.cfg.device)
        wrapped: nn.Module = (
            MMDistributedDataParallel(model, broadcast_buffers=False)
            if self.distributed
            else revert_sync_batchnorm(model)
        )
        return wrapped

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Write a checkpoint as a whole; MMEngine would write it in place, and leave it at that."""
        partial = Path(out_dir, f"{filename}{PARTIAL}")
        super().save_checkpoint(out_dir, partial.name, *args, **kwargs)
        if is_main_process():
            sync(partial)
            partial.replace(partial.with_name(filename))
            sync(partial.parent)

    def dump_config(self) -> None:
        """Write nothing: the config is kept with the finished training."""


def train(
    cfg: Config,
    data: str,
    what: str,
    root: Path,
    start: InitialWeights | None = None,
    *,
    user: str | None = None,
    curves: bool = False,
) -> Path:
    """Train, or continue or take over the same training from the store.

    Under ``torchrun`` each process takes its part of every batch; the first one writes.

    Args:
        cfg: see `tasks.training_config.build_config`.
        data: see `fingerprint`.
        what: what to call it in the progress bar.
        root: the repository root.
        start: see `fingerprint`.
        user: whose last training it is, see `tasks.in_use`; None: the caller has said so itself.
        curves: whether TensorBoard can watch it.

    Returns:
        A folder with ``weights.pth`` (a plain state dict on the CPU), ``config.py`` and
        ``training.json`` (see `tasks.training_summary`).

    Raises:
        InputError: ``start`` does not fit, the config names weights that are missing or not safe
            to read, or the batch cannot be shared by the processes.
    """
    name = fingerprint(cfg, data, root, start)
    if is_main_process():
        if user:
            write_in_use("training", user, [name], root)
        remove_abandoned(root / STORE / name)
    work = root / STORE / name
    finished = work / "finished"
    if finished.is_dir():
        log.info("%s: the same training is finished already, in %s", what, finished)
        return finished
    check_named(cfg.model)
    checkpoint = latest_checkpoint(work)
    with _repeatable(cfg.randomness.deterministic):
        runner = build_runner(cfg, work, f"{name}-{next(_trainings)}", checkpoint)
        if start:
            runner.register_hook(InitialWeightsHook(start))
        begin = int(checkpoint.stem[5:]) if checkpoint else 0
        if begin:
            log.info("%s: continues from iteration %d of %d", what, begin, runner.max_iters)
        if is_main_process():
            if curves:
                runner.register_hook(CurvesHook(root / CURVES / name))
                log.info("curves: tensorboard --logdir %s", root / CURVES)
            with progress(what, runner.max_iters - begin, "iterations") as advance:
                runner.register_hook(ProgressHook(advance))
                runner.train()
            _finish(runner, cfg, work, finished)
        else:
            runner.train()
    barrier()
    return finished


def _finish(runner: Runner, cfg: Config, work: Path, finished: Path) -> None:
    """Leave the result in ``finished``, and nothing beside it."""
    partial = work / "finished.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    torch.save(kept_weights(runner), partial / WEIGHTS)
    cfg.dump(partial / "config.py")
    records.write_json(partial / "training.json", summary(runner))
    sync_tree(partial)
    partial.rename(finished)
    sync(work)
    for leftover in work.iterdir():
        if leftover.is_dir() and leftover != finished:
            shutil.rmtree(leftover)
        elif leftover.is_file():
            leftover.unlink()


def build_runner(cfg: Config, work: Path, experiment: str, checkpoint: Path | None) -> Runner:
    """The runner of a training, to be resumed from ``checkpoint`` if there is one.

    Raises:
        InputError: the batch cannot be shared evenly by the processes, or with two images each.
    """
    run_cfg = deepcopy(cfg)
    run_cfg.work_dir = str(work)
    run_cfg.experiment_name = experiment
    run_cfg.load_from = str(checkpoint) if checkpoint else None
    run_cfg.resume = checkpoint is not None
    _share_out(run_cfg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MMEngine about its own defaults
        return _DeviceRunner.from_cfg(run_cfg)


def _share_out(cfg: Config) -> None:
    """Join the other processes that ``torchrun`` started, if it did, and take a part of the batch.

    The fingerprint is of the whole batch: how many processes share it names no other training.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes == 1:
        return
    batch_size = cfg.train_dataloader.batch_size
    if batch_size % processes:
        raise InputError(
            f"train_segmenter.batch_size: {batch_size} images cannot be shared evenly by "
            f"{processes} processes; choose a multiple"
        )
    if batch_size < 2 * processes:
        raise InputError(
            f"train_segmenter.batch_size: {batch_size} leaves each of {processes} processes one "
            "image, of which batch norm cannot tell a spread; choose "
            f"{2 * processes} or more, or fewer processes"
        )
    cfg.train_dataloader.batch_size = batch_size // processes
    cfg.launcher = "pytorch"
    on_gpu = cfg.device.startswith("cuda")
    if on_gpu:
        cfg.device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(cfg.device)
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if on_gpu else "gloo")


@contextmanager
def _repeatable(deterministic: bool) -> Iterator[None]:
    """MMEngine sets how algorithms are chosen for the process; leave it as it was before."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        cudnn.deterministic, cudnn.benchmark = before[1:]


def hand_over(finished: Path, folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """Copy a finished training's ``config.py`` and ``weights.pth``; returns its report.

    Args:
        finished: what `train` returned.
        folder: is replaced.
        names: of the classes by label value; they go into ``classes.json``.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("config.py", WEIGHTS):
        shutil.copyfile(finished / name, folder / name)
    records.write_json(folder / "classes.json", list(names))
    report: dict[str, Any] = records.read_json(finished / "training.json")
    return report
