"""Stage ``adapt_lora``: LoRA of the base model on unlabelled images of your domain; off by default.

An adapter is trained here, or a given one is taken over. When the stage is off it writes a record
that says so: sampling then uses the base model as it is.
"""

import logging
import shutil
from pathlib import Path
from typing import Any

import cyclopts

from tasks import records
from tasks.adapters import ADAPTER_FILE, find_adapter
from tasks.digests import CACHE_PATH, DigestCache
from tasks.encoding import Captioned
from tasks.entry import run_stage
from tasks.lora_trainer import Job
from tasks.lora_training import train
from tasks.machine import choose_device
from tasks.model_digest import model_digest
from tasks.params import InputError, Params
from tasks.reference_captions import caption_images
from tasks.reference_images import find_images, used_images

log = logging.getLogger(__name__)

Record = dict[str, Any]


def off_metrics() -> Record:
    """The metrics of a run without a training: nothing was measured."""
    keys = ("held_out_loss_before", "held_out_loss_after", "fall", "steps", "images")
    return dict.fromkeys(keys)


def metrics(training: Record) -> Record:
    """What an adapter changed: the held-out denoising loss without and with it.

    Args:
        training: see `tasks.lora_training.summary`.

    Returns:
        The losses, ``fall`` as a share of the first, and the steps and images of the training.
    """
    losses = dict(training["held_out"])
    before, after = losses[0], losses[training["best_step"]]
    return {
        "held_out_loss_before": before,
        "held_out_loss_after": after,
        "fall": round(1 - after / before, 4),
        "steps": training["steps"],
        "images": training["images"],
    }


def read_job(params: Params, root: Path) -> Job:
    """What to train from: the images of ``adapt_lora.images`` with captions and digests.

    Raises:
        InputError: there are too few images for a batch, captions do not fit them, the images
            were not checked, or the base model is another than the one that was.
    """
    section = params.adapt_lora
    reference = records.read_json(root / "data/inputs/reference.json")
    if "words" not in reference:  # of a preflight that passed when nothing was to be trained
        raise InputError(
            "data/inputs/reference.json is of other parameters, without adapt_lora.images: run "
            "`dvc repro adapt_lora`, which checks the images first"
        )
    words, places = reference["words"], reference["places"]
    found = find_images(section.images, root)
    used = used_images(section, found)
    captions = caption_images(section, found, words, places, root)
    cache = DigestCache(root / CACHE_PATH)
    images = tuple(
        Captioned(image.path, image.name, captions[image.name], cache.file(image.path))
        for image in used
    )
    cache.save()
    sampling = params.sample_images
    base = records.read_json(root / "data/inputs/model.json")["digest"]
    if (here := model_digest(sampling.model, root)) != base:
        raise InputError(
            f"sample_images.model: {sampling.model} is not what preflight has read: {here} instead "
            f"of {base}; run `dvc repro adapt_lora`, which reads it anew"
        )
    size = sampling.height, sampling.width
    return Job(section, sampling.model, base, size, images, tuple(words.values()))


def run(params: Params, root: Path = Path()) -> None:
    """Write ``models/lora`` and ``metrics/adaptation.json``; both say so where nothing was done.

    ``adapter.json`` holds the source of the adapter, the SHA-256 of its weights (null where there
    is none), that of the base model, and what it was trained on.
    """
    section = params.adapt_lora
    out = root / "models/lora"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    record: Record = {"source": "none", "digest": None}
    measured = off_metrics()
    if section.adapter == "train":
        job = read_job(params, root)
        finished = train(job, choose_device(section.device, "adapt_lora.device"), root)
        shutil.copytree(finished, out, dirs_exist_ok=True, copy_function=shutil.copyfile)
        record = {"source": "trained", "digest": None, **training_record(job)}
        measured = metrics(records.read_json(finished / "training.json"))
        log.info(
            "held-out loss %.4f, %.4f without the adapter",
            measured["held_out_loss_after"],
            measured["held_out_loss_before"],
        )
    elif section.adapter != "none":
        file = find_adapter(section.adapter, root)
        shutil.copyfile(file, out / ADAPTER_FILE)
        base = records.read_json(root / "data/inputs/model.json")["digest"]
        record = {"source": section.adapter, "digest": None, "base": base}
        log.info("takes %s", file)
    else:
        log.info("off: adapt_lora.adapter is none")
    if (out / ADAPTER_FILE).is_file():
        record["digest"] = DigestCache(root / CACHE_PATH).file(out / ADAPTER_FILE)
    records.write_json(root / "metrics/adaptation.json", measured)
    records.write_json(out / "adapter.json", record)


def training_record(job: Job) -> Record:
    """What an adapter was trained from: base, form of the adapter, every image with its caption."""
    section = job.section
    return {
        "base": job.base,
        "rank": section.rank,
        "alpha": section.alpha,
        "layers": list(section.layers),
        "targets": list(section.targets),
        "images": [
            {"name": image.name, "digest": image.digest, "caption": image.caption}
            for image in job.images
        ],
    }


def main() -> None:
    """Adapt the base model to a domain, or record that it is used as it is: models/lora."""
    run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
