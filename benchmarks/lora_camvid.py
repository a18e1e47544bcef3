"""Adapting to real pictures: storybook's model on driving frames of CamVid, without labels.

The adapter is trained on the frames of ``train``; the early stop looks at a part of these. The
denoising loss is that of the frames of ``val``, which no training saw, with fixed noise and times.
"""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import cyclopts
import torch
from cyclopts import Parameter

from benchmarks.cells import QUICK_LORA, preset_for_anywhere
from benchmarks.demo import QUICK
from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from tasks import adapt_lora, preflight, records
from tasks.adapters import ADAPTER_FILE
from tasks.base_models import find_model, read_model
from tasks.diffusion import Batch, Diffusion, mean_error
from tasks.encoding import Captioned, encode_examples, encode_texts
from tasks.lora_batches import TrainingSet
from tasks.params import AdaptLora, Params
from tasks.pipelines import read_pipeline
from tasks.reference_images import find_images

ROOT = Path(__file__).parents[1]
FRAMES = ROOT.parent / "shared/data/camvid"
ADAPTATION = {
    "adapter": "train",
    "images": str(FRAMES / "train/images"),
    "template": "a picture of a road",
    "crops_per_image": 4,
    "rank": 16,
    "alpha": 16,
    "learning_rate": 0.001,
    "steps": 600,
}
FALL = 0.2
"""The bar: a fifth of the unadapted model's loss."""


def read_parameters(quick: bool) -> Params:
    """The preset storybook with an adaptation to the frames."""
    params = preset_for_anywhere("storybook")
    params["adapt_lora"] |= ADAPTATION | (QUICK_LORA if quick else {})
    params["render_storybook"] |= QUICK["render_storybook"]  # not looked at
    return Params.model_validate(params)


def val_batches(section: AdaptLora, model: str) -> tuple[list[Batch], Diffusion]:
    """The frames of ``val``, noised, and what noises them."""
    pipeline = read_pipeline(model, torch.float32)
    facts = read_model(find_model(model))
    images = [
        Captioned(image.path, image.name, section.template, "")
        for image in find_images(str(FRAMES / "val/images"))
    ]
    texts = encode_texts(pipeline, [section.template], torch.float32, "cpu")
    size = 64, 64
    examples = encode_examples(pipeline.vae, images, section, size, facts.pixel_step, "cpu")
    diffusion = Diffusion.of(pipeline.scheduler.config, "cpu")
    data = TrainingSet(examples, [], texts, section, diffusion.steps, facts.vae_factor)
    return data.held_out(examples), diffusion


def val_loss(batches: list[Batch], diffusion: Diffusion, model: str, adapter: Path | None) -> float:
    """The mean denoising loss of the model, with an adapter or without."""
    pipeline = read_pipeline(model, torch.float32)
    if adapter is not None:
        pipeline.load_lora_weights(adapter.parent, weight_name=adapter.name)
    return mean_error(pipeline.unet, diffusion, batches, "cpu")


def main(
    *,
    quick: Annotated[bool, Parameter(help="few steps; writes no result")] = False,
) -> None:
    """The denoising loss of frames that were not trained on, before and after."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if not FRAMES.is_dir():
        raise SystemExit(f"{FRAMES.name} is missing: put its train/ and val/ under shared/data")
    params = read_parameters(quick)
    model = params.sample_images.model
    batches, diffusion = val_batches(params.adapt_lora, model)
    with TemporaryDirectory(prefix="maskloom-lora-") as folder:
        root = Path(folder)
        preflight.run(params, root)
        adapt_lora.run(params, root)
        training = records.read_json(root / "models/lora/training.json")
        before, after = (
            val_loss(batches, diffusion, model, adapter)
            for adapter in (None, root / "models/lora" / ADAPTER_FILE)
        )
    fall = 1 - after / before
    rows: list[Row] = [
        {
            "frames": training["images"],
            "of them held out for the early stop": training["held_out_images"],
            "steps": training["steps"],
            "best step": training["best_step"],
            "minutes": round(training["seconds"] / 60, 1),
            "loss on val, before": round(before, 4),
            "after": round(after, 4),
            "falls by": round(fall, 4),
        }
    ]
    bars = [Bar.at_least("fall of the loss on val", fall, -1 if quick else FALL, 4)]
    ran = what_ran(
        frames=f"{sum(map(len, batches))} noised windows of val", seeds="0, of everything"
    )
    finish("lora_camvid", ran, rows, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
