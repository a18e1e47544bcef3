"""Stage ``preflight``: everything that can be checked before anything is computed.

Looks at parameters, base model, adapter, reference images, labelled sets and machine, and lists all
that is wrong at once. Its outputs are the same whenever all is well, and are left alone when it is
not. What takes long (decoding images, counting tokens, asking for a GPU) is done again only when
the content of what it looks at has changed.
"""

import importlib.util
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import cyclopts

from storybook.vocabulary import CLASS_NAMES
from tasks import prompt_checks, records
from tasks.adapters import base_problem
from tasks.base_models import PIPELINES, BaseModel, find_model, model_files, read_model
from tasks.checkpoints import find_initial
from tasks.digests import CACHE_PATH, DigestCache, combine, file_digests
from tasks.durable import new_file
from tasks.entry import run_stage
from tasks.image_text import find_image_text, image_text_files
from tasks.labelled_sets import (
    STORYBOOK,
    STORYBOOK_SETS,
    Pair,
    check_pairs,
    class_list,
    class_list_problem,
    inside_storybook,
    list_pairs,
    some,
)
from tasks.machine import gpu_facts, gpu_problems, machine_problems
from tasks.params import InputError, Params
from tasks.prompt_sources import prepare
from tasks.reference_checks import find_reference
from tasks.training_checks import check_training, initial_record

log = logging.getLogger(__name__)

LEAST_GUIDE = 32
"""Pixels that the shorter side of the guided filter's smaller image must have."""
PASSED = Path(".maskloom/preflight.json")
"""Remembers the content for which the slow checks last found nothing wrong."""

P = ParamSpec("P")
T = TypeVar("T")


def size_problems(params: Params, model: BaseModel) -> list[str]:
    """Whether the model can make images of this size and has attention maps of the sides asked."""
    section, masks = params.sample_images, params.extract_masks
    problems = [
        f"sample_images.{key}: must be a multiple of {model.pixel_step} for this model, not {value}"
        for key, value in (("height", section.height), ("width", section.width))
        if value % model.pixel_step
    ]
    if problems:
        return problems
    sides = model.attention_resolutions(section.height, section.width)
    if not sides:
        return [
            f"sample_images.model: the UNet of {section.model} has no cross-attention to read "
            "masks from; choose a text-to-image model"
        ]
    capture = section.capture
    asked = {
        "sample_images.capture.resolutions": capture.resolutions or (),
        f"extract_masks.{masks.method}.resolutions": masks.resolutions or (),
    }
    if capture.self_attention is not None:
        asked["sample_images.capture.self_attention.resolution"] = (
            capture.self_attention.resolution,
        )
    for key, wanted in asked.items():
        lacking = [str(side) for side in wanted if side not in sides]
        if lacking:
            problems.append(
                f"{key}: at {section.height}x{section.width} this model's "
                f"attention has the sides {', '.join(map(str, sides))}, not {', '.join(lacking)}"
            )
    return problems


def find_set(params: Params, key: str, root: Path) -> list[Pair]:
    """The files of a labelled set that lies outside the graph; none of one made by the graph.

    Raises:
        InputError: the set is not there, or its labels mean other classes than the run's.
    """
    value = _set_path(params, key)
    inside = inside_storybook(value, root)
    if value == "none":
        return []
    if inside is None:
        try:
            pairs, set_names = list_pairs(root / value), class_list(root / value)
        except InputError as error:
            raise InputError(f"{key}: {error}") from None
    else:
        domain = params.render_storybook.domain
        pairs, set_names = [], CLASS_NAMES.get(domain)
        if domain == "none":
            raise InputError(
                f"{key}: {value} is made by render_storybook, whose domain is none; choose the "
                "domain page or street, a folder of your own, or none"
            )
        if inside.as_posix() not in STORYBOOK_SETS:
            raise InputError(
                f"{key}: {value} is no set that render_storybook makes; it makes "
                f"{', '.join(f'{STORYBOOK}/{name}' for name in STORYBOOK_SETS)}"
            )
    problem = class_list_problem(set_names or [], params.expand_prompts.label_names)
    if problem:
        raise InputError(f"{key}: {value}: {problem}; list these, or choose another set or none")
    return pairs


def set_record(params: Params, key: str, pairs: list[Pair], cache: DigestCache, root: Path) -> Any:
    """What the graph needs to know of a labelled set: the digest of one from outside."""
    value = _set_path(params, key)
    if value == "none":
        return {"source": "none"}
    if inside_storybook(value, root) is not None:
        return {"source": STORYBOOK.as_posix()}
    folder = root / value
    files = [path for pair in pairs for path in (pair.image, pair.label)]
    return {
        "source": "outside",
        "images": len(pairs),
        "digest": combine(file_digests(folder, files, cache)),
    }


def config_problems(config: str, root: Path) -> list[str]:
    """Whether the segmentation network's config is there."""
    if (root / config).is_file():
        return []
    there = sorted((root / "mmseg_configs").glob("*/*.py"))
    names = some(path.relative_to(root).as_posix() for path in there)
    return [f"train_segmenter.config: {config} does not exist; there is {names or 'none'}"]


def mask_problems(params: Params) -> list[str]:
    """What the masks need and the installation lacks."""
    problems = []
    section = params.extract_masks
    if section.needs_crf and importlib.util.find_spec("pydensecrf") is None:
        key = "refine" if section.refine == "crf" else "method"
        problems.append(
            f"extract_masks.{key}: {getattr(section, key)} needs the dense CRF, which is not "
            "installed; run `make crf` (it needs a C++ compiler), or choose another"
        )
    side = min(params.sample_images.height, params.sample_images.width)
    if section.refine == "guided" and side // section.guided.subsample < LEAST_GUIDE:
        problems.append(
            f"extract_masks.guided.subsample: {section.guided.subsample} leaves an image of "
            f"{side // section.guided.subsample} pixels to find edges on; at this size at most "
            f"{max(1, side // LEAST_GUIDE)}"
        )
    return problems


def read_tokenizers(model: BaseModel) -> tuple[list[Any], int]:
    """The model's tokenizers, and how many tokens its text encoders read, start and end included.

    Raises:
        InputError: one cannot be loaded.
    """
    from transformers import CLIPTokenizer  # a second to import, and only needed here

    tokenizers = []
    for part in PIPELINES[model.pipeline]:
        if part.startswith("tokenizer"):
            folder = model.folder / part
            try:
                tokenizers.append(CLIPTokenizer.from_pretrained(folder, local_files_only=True))
            except Exception as error:  # whatever transformers makes of damaged files
                raise InputError(
                    f"sample_images.model: {folder} cannot be loaded: {error}; copy or fetch it "
                    "again"
                ) from None
    return tokenizers, min(model.text_length, *(one.model_max_length for one in tokenizers))


def texts_record(params: Params, cache: DigestCache, root: Path) -> dict[str, str]:
    """The digests of the files that prompts are made from; what is no file stands as it is."""
    section = params.expand_prompts
    spec = section.lexicon.removeprefix("wordnet:")
    files = {"classes_file": section.classes_file, "captions": section.captions, "lexicon": spec}
    return {
        key: cache.file(root / value) if (root / value).is_file() else value
        for key, value in files.items()
    }


def similarity_record(folder: Path | None, cache: DigestCache) -> dict[str, str]:
    """What the graph needs to know of the model that compares images with texts."""
    if folder is None:
        return {"source": "none"}
    files = file_digests(folder, image_text_files(folder), cache)
    return {"source": "outside", "digest": combine(files)}


def run(params: Params, root: Path = Path()) -> None:
    """Check everything, then write ``metrics/preflight.json`` and ``data/inputs``.

    Raises:
        InputError: something is wrong; all that was found is listed, and no file was touched.
    """
    problems: list[str] = []
    plan = _attempt(problems, prepare, params.expand_prompts, root)
    model = _attempt(problems, lambda: read_model(find_model(params.sample_images.model, root)))
    if model:
        problems += size_problems(params, model)
    keys = {
        "labelled_set": "train_reference.labelled_set",
        "test_set": "evaluate_segmenter.test_set",
    }
    sets = {name: _attempt(problems, find_set, params, key, root) for name, key in keys.items()}
    labelled, test = (_set_path(params, key) for key in keys.values())
    if labelled != "none" and os.path.abspath(root / labelled) == os.path.abspath(root / test):
        problems.append(
            "train_reference.labelled_set: is the test set too; the reference would be measured on "
            "what it has learnt: choose another folder, or none"
        )
    reference = _attempt(problems, find_reference, params, plan, model, root)
    start = _attempt(problems, find_initial, params.train_segmenter.init_from, root)
    similarity = params.score_masks.similarity.model
    compared = None
    if similarity != "none":
        compared = _attempt(problems, find_image_text, similarity, root)
    no_config = config_problems(params.train_segmenter.config, root)
    problems += no_config
    problems += mask_problems(params)
    problems += machine_problems(params, root)

    inputs: dict[str, Any] = {}
    fingerprint = None
    if model and not problems:
        cache = DigestCache(root / CACHE_PATH)
        files = file_digests(model.folder, model_files(model), cache)
        inputs["model"] = {"pipeline": model.pipeline, "digest": combine(files), "files": files}
        for name, key in keys.items():
            inputs[name] = set_record(params, key, sets[name] or [], cache, root)
        inputs["texts"] = texts_record(params, cache, root)
        inputs["init_from"] = initial_record(start, cache)
        inputs["similarity"] = similarity_record(compared, cache)
        if reference:
            inputs["reference"] = reference.record(cache, root)
            if reference.adapter:
                problem = base_problem(reference.adapter, inputs["model"]["digest"])
                problems += [problem] if problem else []
        here = Path(__file__).parent
        files_here = sorted([*here.rglob("*.py"), *here.glob("lexicons/*.yaml")])
        code = combine(file_digests(here, files_here, cache))
        configs = sorted((root / "mmseg_configs").rglob("*.py"))
        networks = combine(file_digests(root, configs, cache))
        cache.save()
        fingerprint = records.content_id(code, networks, params.model_dump(), inputs, gpu_facts())
    if fingerprint is None or _passed(root / PASSED) != fingerprint:
        for name, key in keys.items():
            pairs = sets[name] or []
            if pairs:
                log.info("reading %d labelled images of %s", len(pairs), key)
            faults = check_pairs(pairs, len(params.expand_prompts.label_names))
            problems += [f"{key}: {_set_path(params, key)}: {fault}" for fault in faults]
        encoders = _attempt(problems, read_tokenizers, model) if model else None
        if encoders and plan:
            problems += prompt_checks.prompt_problems(plan, *encoders)
        if encoders and reference:
            problems += reference.slow_problems(*encoders)
        if not no_config:
            _attempt(problems, check_training, params, start, root)
        problems += gpu_problems(params)
    if problems:
        raise InputError("\n".join(problems))
    with new_file(root / PASSED) as file:
        file.write(json.dumps(fingerprint).encode())
    for name, record in inputs.items():
        records.write_json(root / f"data/inputs/{name}.json", record)
    records.write_json(root / "metrics/preflight.json", {"ok": True})
    log.info("all is well")


def _attempt(
    problems: list[str], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T | None:
    """The function's result, or None and its message among the problems."""
    try:
        return function(*args, **kwargs)
    except InputError as error:
        problems.append(str(error))
        return None


def _set_path(params: Params, key: str) -> str:
    section, _, name = key.partition(".")
    return str(getattr(getattr(params, section), name))


def _passed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def main() -> None:
    """Check parameters, model, labelled sets and machine before anything is computed."""
    run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
