"""Whether masks are still good after adapting: agreement with a judge, before and after.

Before: pages sampled from the storybook model, its preset's masks, a judge trained on drawn pages.
After: streets from the adapted model, the preset storybook_street's masks, a judge trained on drawn
streets. IoU is counted over all pixels; one without a label is wrong.
"""

import logging
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Annotated

import cyclopts
import numpy as np
from cyclopts import Parameter

from benchmarks.cells import QUICK_LORA, preset_for_anywhere
from benchmarks.demo import QUICK
from benchmarks.mask_quality import sample
from benchmarks.recipes import Refinable, fill_ignored
from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from storybook.base_model.corpus import to_tensor
from storybook.base_model.critic import Critic, labelled_images, mean_iou, predict, train_critic
from tasks import adapt_lora, preflight, render_storybook
from tasks.adapters import ADAPTER_FILE
from tasks.iou import confusion_matrix, iou_per_class
from tasks.params import Params

SEEDS = (0,)
"""Of the adapter; the prompts and their noise have 1000 more."""
CRITIC_TRAINING, CRITIC_TEST = 920, 921
PRESETS = {"page": "storybook", "street": "storybook_street"}
SHARED = ("car", "tree")
"""Classes of both domains."""
LOSS = 0.03
"""The bar: what adapting may cost in IoU."""


def read_preset(domain: str, seed: int, quick: bool) -> Params:
    """The domain's preset with the seed, and the model by its full path."""
    params = preset_for_anywhere(PRESETS[domain])
    params["adapt_lora"]["seed"] = seed
    if quick:
        params["adapt_lora"] |= QUICK_LORA
        for section in ("render_storybook", "sample_images"):
            params[section] |= QUICK[section]
    return Params.model_validate(params)


def agreement(
    params: Params, judge: Critic, per_class: int, seed: int, adapter: Path | None
) -> list[float | None]:
    """IoU of the masks with what the judge sees, by label value."""
    samples = sample(params, per_class, seed, adapter)
    seen = predict(judge, to_tensor(np.stack([one.image for one in samples])))
    values, masks = params.expand_prompts.label_values, params.extract_masks
    labels = Refinable(samples, masks).labels(values, masks)
    count = len(params.expand_prompts.label_names)
    filled = fill_ignored(labels, seen, count).numpy()
    return iou_per_class(confusion_matrix(seen.numpy(), filled, count))


def adapt(params: Params, root: Path) -> Path:
    """Train the preset's adapter in a folder of its own; returns its weights."""
    for stage in (preflight, render_storybook, adapt_lora):
        stage.run(params, root)
    return root / "models/lora" / ADAPTER_FILE


def summarise(domain: str, seed: int, params: Params, ious: list[float | None]) -> Row:
    """A row: the mean over all classes, and over those that both domains have."""
    names = params.expand_prompts.label_names
    of = dict(zip(names, ious, strict=True))
    return {
        "samples": f"{domain}, {'adapted' if domain == 'street' else 'unadapted'}",
        "seed": seed,
        "mIoU": round(mean(iou or 0.0 for iou in ious), 4),
        f"mean of {' and '.join(SHARED)}": round(mean(of[name] or 0.0 for name in SHARED), 4),
        "by class": ", ".join(f"{name} {of[name] or 0.0:.2f}" for name in names),
    }


def main(
    *,
    quick: Annotated[bool, Parameter(help="one seed, few images; writes no result")] = False,
) -> None:
    """Mask agreement of unadapted pages and of adapted streets."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    images, steps, drawn = (1, 2, 40) if quick else (240, 500, 6000)
    seeds = SEEDS[:1] if quick else SEEDS
    rows: list[Row] = []
    judged = []
    for domain in PRESETS:
        judge = train_critic(steps, CRITIC_TRAINING, domain=domain, images=drawn)
        pixels, truth = labelled_images(max(8, drawn // 20), CRITIC_TEST, domain)
        for seed in seeds:
            params = read_preset(domain, seed, quick)
            per_class = max(1, images // len(params.expand_prompts.classes))
            with TemporaryDirectory(prefix="maskloom-lora-") as folder:
                adapter = adapt(params, Path(folder)) if domain == "street" else None
                ious = agreement(params, judge, per_class, 1000 + seed, adapter)
            rows.append(summarise(domain, seed, params, ious))
            print(rows[-1], flush=True)
        count = len(params.expand_prompts.label_names)
        judged.append(f"{domain} {mean_iou(predict(judge, pixels), truth, count):.3f}")
    before, after = (
        mean(float(row["mIoU"]) for row in rows if str(row["samples"]).startswith(domain))
        for domain in PRESETS
    )
    bars = [Bar.at_most("loss of mIoU", before - after, 1.0 if quick else LOSS, 4)]
    ran = what_ran(
        images=f"{images} of each domain and seed",
        seeds=f"{', '.join(map(str, seeds))}; prompts and noise 1000 more; judge {CRITIC_TRAINING}",
        judge=f"mIoU on drawn images: {', '.join(judged)}",
    )
    finish("lora_masks", ran, rows, bars, None if quick else RESULTS)


if __name__ == "__main__":
    cyclopts.run(main)
