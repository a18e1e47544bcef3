"""Training of a LoRA adapter on the denoising of a domain's images.

A training lives in a folder of its own below ``.maskloom/lora``, named by a fingerprint of all that
it is made from. Stopped at any time, it continues there from its last checkpoint; finished, it
leaves a ``finished`` folder with the weights, ``training.json`` and the sample sheets.
"""

import logging
import math
import shutil
import time
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks import records
from tasks.digests import combine
from tasks.durable import new_file, remove_abandoned, sync, sync_tree
from tasks.in_use import write_in_use
from tasks.lora_trainer import Job, Trainer
from tasks.params import InputError
from tasks.progress import progress

log = logging.getLogger(__name__)

STORE = Path(".maskloom/lora")
"""Where trainings live, from the repository root."""
CODE = (
    "diffusion.py",
    "encoding.py",
    "english.py",
    "framing.py",
    "lora_batches.py",
    "lora_network.py",
    "lora_trainer.py",
    "lora_training.py",
    "reference_captions.py",
    "reference_images.py",
    "sample_sheets.py",
    "templates.py",
)
"""The code in ``tasks`` that a training's result depends on."""
NOT_TRAINED_WITH = {"adapter", "images", "max_images", "captions", "template", "device", "scale"}
"""Parameters that leave a training as it is, or whose content is in its fingerprint."""
CHECKPOINT = "checkpoint.pt"
TOLD_EVERY = 10
"""Steps between readings of the loss: reading one waits for the device."""


@dataclass
class State:
    """How far a training is; with the adapter and the optimiser, all that it goes on from.

    Attributes:
        step: steps taken.
        losses: [step, mean training loss since the entry before].
        held_out: [step, held-out loss]; the first, of step 0, is the base model's.
        best: the adapter with the lowest held-out loss.
        seconds: spent in steps, held-out losses and sheets.
    """

    step: int = 0
    losses: list[list[float]] = field(default_factory=list)
    held_out: list[list[float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def best_step(self) -> int:
        """The step of the lowest held-out loss, the first of equals."""
        return int(min(self.held_out, key=lambda entry: entry[1])[0])

    def gave_up(self, patience: int) -> bool:
        """Whether so many held-out losses have come since the lowest."""
        after = [step for step, _ in self.held_out if step > self.best_step]
        return len(after) >= patience


def fingerprint(job: Job, device: str) -> str:
    """The name of a training: a hash of recipe, base, images, captions, code and libraries."""
    here = Path(__file__).parent
    recipe = job.section.model_dump(exclude=NOT_TRAINED_WITH)
    code = combine({name: records.content_id((here / name).read_text()) for name in CODE})
    libraries = [metadata.version(name) for name in ("torch", "diffusers", "peft")]
    images = [[image.name, image.digest, image.caption] for image in job.images]
    kind = device.partition(":")[0]
    words = job.words if job.section.prior_rows else ()
    return records.content_id(
        "lora", recipe, job.base, job.size, images, words, kind, code, libraries
    )


def train(job: Job, device: str, root: Path = Path()) -> Path:
    """Train, or continue or take over the same training from the store.

    Args:
        job: what to train from.
        device: where to.
        root: the repository root.

    Returns:
        A folder with the best adapter's weights, ``training.json`` (see `summary`) and ``sheets``.

    Raises:
        InputError: the loss is no number any more.
    """
    name = fingerprint(job, device)
    write_in_use("lora", "adapt_lora", [name], root)
    work = root / STORE / name
    finished = work / "finished"
    if finished.is_dir():
        log.info("the same training is finished already, in %s", finished)
        return finished
    remove_abandoned(work)
    trainer = Trainer(job, device, root)
    state = _resume(trainer, work / CHECKPOINT)
    section = job.section
    if state.step:
        log.info("continues from step %d of %d", state.step, section.steps)
    with progress("adapting", section.steps - state.step, "steps") as advance:
        if not state.held_out:
            _evaluate(trainer, state, work)
        unread: list[Tensor] = []
        started = time.monotonic()
        while state.step < section.steps and not state.gave_up(section.patience):
            unread.append(trainer.step(state.step))
            state.step += 1
            due = state.step % section.eval_interval == 0 or state.step == section.steps
            if due or state.step % TOLD_EVERY == 0:
                loss = float(torch.stack(unread).mean())
                _refuse_divergence(loss, state.step)
                state.losses.append([state.step, round(loss, 5)])
                advance(len(unread), f"loss {loss:.4f}, held out {state.held_out[-1][1]:.4f}")
                unread = []
            if due:
                state.seconds += time.monotonic() - started
                _evaluate(trainer, state, work)
                started = time.monotonic()
    partial = work / "finished.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    trainer.adapter.load(state.best)
    trainer.adapter.save(type(trainer.pipeline), partial)
    records.write_json(partial / "training.json", summary(trainer, state))
    shutil.copytree(work / "sheets", partial / "sheets")
    sync_tree(partial)
    partial.rename(finished)
    sync(work)
    shutil.rmtree(work / "sheets")
    for leftover in work.glob(f"{CHECKPOINT}*"):
        leftover.unlink()
    return finished


def summary(trainer: Trainer, state: State) -> dict[str, Any]:
    """What a finished training reports.

    Returns:
        ``steps`` taken; ``best_step``, of the adapter that is kept; ``stopped_early``; ``images``
        trained on, ``held_out_images``; ``seconds``; ``parameters`` of the adapter; ``curve``, the
        training loss as [step, mean since the point before]; ``held_out`` as [step, loss], the base
        model's first; ``sheets``, the captions of their rows.
    """
    images = len(trainer.job.images)
    trained_on = len(trainer.data.examples)
    return {
        "steps": state.step,
        "best_step": state.best_step,
        "stopped_early": state.step < trainer.section.steps,
        "images": trained_on,
        "held_out_images": images - trained_on,
        "seconds": round(state.seconds, 1),
        "parameters": sum(weight.numel() for weight in trainer.weights),
        "curve": state.losses,
        "held_out": state.held_out,
        "sheets": trainer.sheet_captions,
    }


def _evaluate(trainer: Trainer, state: State, work: Path) -> None:
    """Measure the held-out loss, keep the adapter if it is the best, draw a sheet, checkpoint."""
    started = time.monotonic()
    loss = trainer.held_out_loss()
    _refuse_divergence(loss, state.step)
    state.held_out.append([state.step, round(loss, 6)])
    if state.best_step == state.step:
        state.best = trainer.adapter.state()
    trainer.draw_sheet(work / f"sheets/sheet-{state.step:05d}.png")
    state.seconds += time.monotonic() - started
    _write_checkpoint(trainer, state, work / CHECKPOINT)


def _refuse_divergence(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise InputError(
            f"adapt_lora: the loss is {loss} at step {step}: the training diverged; lower "
            "adapt_lora.learning_rate"
        )


def _write_checkpoint(trainer: Trainer, state: State, path: Path) -> None:
    """Replace the checkpoint as a whole; it is on the disk when this returns."""
    content = {
        "state": asdict(state),
        "adapter": trainer.adapter.state(),
        "optimizer": trainer.optimizer.state_dict(),
    }
    with new_file(path) as file:
        torch.save(content, file)


def _resume(trainer: Trainer, path: Path) -> State:
    """The state in a checkpoint, with adapter and optimiser set to it; a new one without."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        return State()
    content = torch.load(path, map_location="cpu", weights_only=True)
    trainer.adapter.load(content["adapter"])
    trainer.optimizer.load_state_dict(content["optimizer"])
    return State(**content["state"])
