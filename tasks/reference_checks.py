"""What is wrong with an adapter or with the images and captions to train one from.

Everything that `tasks.preflight` asks about ``adapt_lora``. Imports no torch.
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tasks.adapters import adapter_problems, find_adapter
from tasks.base_models import BaseModel
from tasks.digests import DigestCache, combine, file_digests
from tasks.labelled_sets import STORYBOOK, STORYBOOK_SETS, inside_storybook, some
from tasks.params import AdaptLora, InputError, Params
from tasks.prompt_sources import Plan
from tasks.records import content_id
from tasks.reference_captions import caption_images, length_problems, prior_prompts
from tasks.reference_images import (
    ReferenceImage,
    base_folder,
    find_images,
    unreadable,
    used_images,
)

log = logging.getLogger(__name__)

MADE_HERE = Path("models/lora")
"""What the stage writes."""
CHANNELS = 4
"""Of the latents of every Stable Diffusion that can be sampled from."""
MEMORY_SHARE = 0.5
"""Of the machine's memory, from which on latents are warned of."""


@dataclass(frozen=True)
class Reference:
    """What ``adapt_lora`` works from, as far as it is there already.

    Attributes:
        section: its parameters.
        words: class -> what it is called in captions.
        places: class -> how it is said behind the others.
        adapter: a given one.
        made_by_graph: whether the images are made by a stage; then none are known yet.
        images, captions: those to train from.
    """

    section: AdaptLora
    words: Mapping[str, str]
    places: Mapping[str, str]
    adapter: Path | None = None
    made_by_graph: bool = False
    images: Sequence[ReferenceImage] = ()
    captions: Mapping[str, str] = field(default_factory=dict)

    def record(self, cache: DigestCache, root: Path) -> dict[str, Any]:
        """What the graph needs to know of it: digests of what comes from outside, and wording."""
        section = self.section
        if section.adapter == "none":
            return {"source": "none"}
        if self.adapter is not None:
            return {"source": "adapter", "digest": cache.file(self.adapter)}
        named = section.prior_rows or "{}" in section.template
        naming = {
            "words": dict(self.words) if named else {},
            "places": dict(self.places) if named else {},
        }
        if self.made_by_graph:
            file, captions = root / section.captions, section.captions
            if inside_storybook(captions, root) is None and file.is_file():
                captions = cache.file(file)
            return {"source": "graph", "captions": captions, **naming}
        files = [image.path for image in self.images]
        return {
            "source": "outside",
            "images": len(files),
            "digest": combine(file_digests(base_folder(section.images, root), files, cache)),
            "captions": content_id(dict(self.captions)),
            **naming,
        }

    def latent_bytes(self, height: int, width: int, vae_factor: int) -> int:
        """What training holds in the machine's memory: the latents of all windows, as float32.

        Args:
            height, width: of sampling, in pixels.
            vae_factor: pixels per latent position.
        """
        windows = len(self.images) * self.section.crops_per_image * (1 + self.section.flip)
        return windows * CHANNELS * (height // vae_factor) * (width // vae_factor) * 4

    def tell_memory(self, height: int, width: int, vae_factor: int) -> None:
        """Log `latent_bytes` where there are images, as a warning where they are many."""
        if not self.images:
            return
        needed = self.latent_bytes(height, width, vae_factor)
        whole = psutil.virtual_memory().total
        told = f"{len(self.images)} images take about {needed / 1e9:.2g} GB of memory as latents"
        if needed > MEMORY_SHARE * whole:
            log.warning(
                "adapt_lora.images: %s, of %.2g GB that the machine has; lower "
                "adapt_lora.max_images or crops_per_image, or set flip: false",
                told,
                whole / 1e9,
            )
        else:
            log.info("adapt_lora.images: %s", told)

    def slow_problems(self, tokenizers: Sequence[Any], longest: int) -> list[str]:
        """What only decoding the images and counting tokens tells.

        Args:
            tokenizers: one for each text encoder of the base model.
            longest: tokens that they read, start and end included.
        """
        section = self.section
        if section.adapter != "train":
            return []
        problems = []
        broken = unreadable(self.images)
        if broken:
            problems.append(
                f"adapt_lora.images: {len(broken)} of {len(self.images)} images cannot be read; "
                f"replace or remove: {some(broken)}"
            )
        captions = [*self.captions.values()]
        if self.made_by_graph and section.captions == "none":
            captions.append(section.template)
        prompts = prior_prompts(section, [*self.words.values()])
        for key, texts in (("captions", captions), ("prior_template", prompts)):
            problems += length_problems(f"adapt_lora.{key}", texts, tokenizers, longest)
        return problems


def find_reference(
    params: Params, plan: Plan | None, model: BaseModel | None, root: Path = Path()
) -> Reference:
    """Look for what ``adapt_lora`` names: an adapter, or images and captions.

    Args:
        params: say where they should be.
        plan: knows what classes are called; without it they are called by their names.
        model: the base model, if it is known.
        root: where relative paths start from.

    Raises:
        InputError: they are not there, do not fit together, or are what will be measured on.
    """
    section, places = params.adapt_lora, params.expand_prompts.places
    words = {name: name for name in params.expand_prompts.class_names}
    if plan:
        words = {name: source.entry.of("plain")[0].text for name, source in plan.sources.items()}
    if section.adapter == "none":
        return Reference(section, words, places)
    if section.adapter != "train":
        file = find_adapter(section.adapter, root)
        if _inside(file, root / MADE_HERE):
            raise InputError(
                f"adapt_lora.adapter: {section.adapter} is what the stage itself writes, and is "
                "deleted before it runs; copy it elsewhere"
            )
        problems = adapter_problems(file, model) if model else []
        if problems:
            raise InputError("\n".join(problems))
        return Reference(section, words, places, adapter=file)
    if _made_by_graph(params, root):
        _refuse_test_images(params, [base_folder(section.images, root)], root)
        return Reference(section, words, places, made_by_graph=True)
    found = find_images(section.images, root)
    used = used_images(section, found)
    _refuse_test_images(params, [image.path for image in used], root)
    captions = caption_images(section, found, words, places, root)
    return Reference(section, words, places, images=used, captions=captions)


def _refuse_test_images(params: Params, paths: Iterable[Path], root: Path) -> None:
    test_set = params.evaluate_segmenter.test_set
    if test_set != "none" and any(_inside(path, root / test_set) for path in paths):
        raise InputError(
            f"adapt_lora.images: {params.adapt_lora.images} has images of "
            "evaluate_segmenter.test_set; the samples would be made after what they are measured "
            "on: choose others"
        )


def _inside(path: Path, folder: Path) -> bool:
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


def _made_by_graph(params: Params, root: Path) -> bool:
    """Whether a stage makes the images.

    Raises:
        InputError: they are where a stage makes images, and it makes none of these.
    """
    images = params.adapt_lora.images
    inside = inside_storybook(images, root)
    if inside is None:
        return False
    if params.render_storybook.domain == "none":
        raise InputError(
            f"adapt_lora.images: {images} are made by render_storybook, whose domain is none; "
            "choose a domain, or images of your own"
        )
    if inside.parts[:1] not in [(name,) for name in STORYBOOK_SETS]:
        raise InputError(
            f"adapt_lora.images: {images} is nothing that render_storybook makes; it makes "
            f"{', '.join(f'{STORYBOOK}/{name}/images' for name in STORYBOOK_SETS)}"
        )
    return True
