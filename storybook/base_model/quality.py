"""Measures a base model against its two bars: ``python -m storybook.base_model.quality``.

Over 200 single-object prompts spread over classes and hyponyms, on seeds of their own: is the
prompted class the largest foreground that the critic sees, and does the class word's attention map
lie on it? Writes ``quality.json`` into the model folder and a sheet of samples with their maps.
"""

import json
import logging
from pathlib import Path
from typing import Annotated

import cyclopts
import numpy as np
import torch
from cyclopts import Parameter
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch.nn import functional

from storybook.base_model.corpus import to_tensor
from storybook.base_model.critic import Critic, labelled_images, mean_iou, predict, train_critic
from storybook.page import article
from storybook.vocabulary import PAGE_CLASSES, page_class_of
from tasks.attention import trace_cross_attention
from tasks.params import Scheduler, load_params
from tasks.phrases import phrase_columns
from tasks.pipelines import load_pipeline

log = logging.getLogger(__name__)

PLACES = ("", " on grass", " on sand", " on snow", " on water", " on paper", " on a road")
PRESET = Path(__file__).parents[2] / "presets/storybook.yaml"
CRITIC_SEEDS = (900, 901)
"""Seeds of the critic's training and test pages; neither is the corpus's."""


def prompts(count: int) -> list[tuple[str, str]]:
    """``count`` pairs of prompt and class word: classes, their words and places in turn."""
    pairs = []
    for i in range(count):
        thing = PAGE_CLASSES[i % len(PAGE_CLASSES)]
        words = (thing.name, *thing.hyponyms, *thing.synonyms)
        turn = i // len(PAGE_CLASSES)
        word = words[turn % len(words)]
        pairs.append((article(word) + PLACES[(turn + i) % len(PLACES)], word))
    return pairs


def sample(
    pipeline: StableDiffusionPipeline,
    pairs: list[tuple[str, str]],
    *,
    steps: int,
    guidance: float,
    seed: int,
    batch: int = 40,
) -> tuple[np.ndarray, torch.Tensor]:
    """Images ``uint8 (N, 64, 64, 3)`` and 16x16 maps of the class word at the middle step."""
    images, maps = [], []
    for first in range(0, len(pairs), batch):
        part = pairs[first : first + batch]
        columns = [
            phrase_columns(
                pipeline.tokenizer, text, [(text.index(word), text.index(word) + len(word))]
            )
            for text, word in part
        ]
        with trace_cross_attention(pipeline.unet, columns, [steps // 2], resolutions=[16]) as trace:
            result = pipeline(
                [text for text, _ in part],
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=[
                    torch.Generator().manual_seed(seed + first + i) for i in range(len(part))
                ],
                output_type="np",
            ).images
        images.append((result * 255).round().astype(np.uint8))
        maps.append(trace.maps()[16, 16][:, 0])
    return np.concatenate(images), torch.cat(maps)


def normalised(maps: torch.Tensor, side: int = 64) -> torch.Tensor:
    """Min-max normalised maps, bilinear to ``(N, side, side)``."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp_min(1e-8)
    return functional.interpolate(scaled[:, None], size=(side, side), mode="bilinear")[:, 0]


def overlap(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Intersection over union of boolean masks ``(N, H, W)``; 0 where the union is empty."""
    union = (a | b).sum((1, 2))
    return (a & b).sum((1, 2)) / union.clamp_min(1)


def sheet(images: np.ndarray, maps: torch.Tensor, seen: torch.Tensor, path: Path) -> None:
    """A contact sheet: each sample above its map above what the critic sees."""
    heat = (maps * 255).byte().numpy()[..., None].repeat(3, -1)
    found = (seen * 28).byte().numpy()[..., None].repeat(3, -1)
    columns = [np.concatenate([i, h, f]) for i, h, f in zip(images, heat, found, strict=True)]
    rows = [np.concatenate(columns[k : k + 24], 1) for k in range(0, len(columns) - 23, 24)]
    Image.fromarray(np.concatenate(rows)).save(path, quality=80)


def main(
    *,
    model: Annotated[Path, Parameter(help="diffusers folder")] = Path("models/storybook-sd"),
    count: Annotated[int, Parameter(help="prompts")] = 200,
    scheduler: Annotated[Scheduler, Parameter(help="model: its own")] = "unipc",
    steps: Annotated[int, Parameter(help="denoising steps")] = 10,
    guidance: Annotated[float, Parameter(help="guidance scale")] = 2.5,
    threshold: Annotated[float, Parameter(help="on the normalised map")] = 0.4,
    seed: Annotated[int, Parameter(help="first noise seed")] = 88_000,
    critic_steps: Annotated[int, Parameter(help="training steps of the critic")] = 500,
    critic: Annotated[Path | None, Parameter(help="where the trained critic is kept")] = None,
) -> None:
    """Measure the share of images that show the prompted class, and the map's overlap with it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if critic and critic.exists():
        judge = Critic(len(PAGE_CLASSES) + 1).eval()
        judge.load_state_dict(torch.load(critic, weights_only=True))
    else:
        judge = train_critic(critic_steps, CRITIC_SEEDS[0])
        if critic:
            torch.save(judge.state_dict(), critic)
    pixels, labels = labelled_images(300, CRITIC_SEEDS[1])
    judge_miou = mean_iou(predict(judge, pixels), labels, len(PAGE_CLASSES) + 1)

    chosen = {"model": str(model), "scheduler": scheduler, "dtype": "bfloat16"}
    section = load_params(PRESET).sample_images.model_copy(update=chosen)
    pipeline = load_pipeline(section, "cpu")
    pipeline.set_progress_bar_config(desc="sampling", leave=False)
    pairs = prompts(count)
    images, maps = sample(pipeline, pairs, steps=steps, guidance=guidance, seed=seed)
    seen = predict(judge, to_tensor(images))
    wanted = torch.tensor([page_class_of(word) for _, word in pairs])
    areas = functional.one_hot(seen, len(PAGE_CLASSES) + 1).sum((1, 2))
    largest = areas[:, 1:].argmax(1) + 1
    right = (largest == wanted) & (areas.gather(1, wanted[:, None])[:, 0] > 0)
    scaled = normalised(maps.float())
    ious = overlap(scaled > threshold, seen == wanted[:, None, None])
    per_word = {
        word: [
            round(float(right[[w == word for _, w in pairs]].float().mean()), 3),
            round(float(ious[[w == word for _, w in pairs]].mean()), 3),
        ]
        for word in sorted({w for _, w in pairs})
    }
    record = {
        "command": f"python -m storybook.base_model.quality --count {count} "
        f"--scheduler {scheduler} --steps {steps} --guidance {guidance} "
        f"--threshold {threshold} --seed {seed}",
        "prompts": count,
        "critic_miou": round(judge_miou, 4),
        "prompted_class_largest": round(float(right.float().mean()), 4),
        "threshold": threshold,
        "map_iou": round(float(ious.mean()), 4),
        "map_iou_by_threshold": {
            str(t): round(float(overlap(scaled > t, seen == wanted[:, None, None]).mean()), 4)
            for t in (0.2, 0.3, 0.4, 0.5, 0.6)
        },
        "per_word": per_word,
        "bars": [
            {"name": "prompted_class_largest", "value": float(right.float().mean()), "bound": 0.9},
            {"name": "map_iou", "value": float(ious.mean()), "bound": 0.5},
        ],
    }
    for bar in record["bars"]:  # type: ignore[attr-defined]  # a list of dicts, see above
        bar["holds"] = bar["value"] >= bar["bound"]
    (model / "quality.json").write_text(json.dumps(record, indent=2) + "\n")
    sheet(images, scaled, seen, model / "quality.jpg")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    cyclopts.run(main)
