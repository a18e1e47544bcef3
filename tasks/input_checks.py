"""What the parameters name, and what is wrong with it: parameters, files, networks and machine.

`tasks.preflight` stops a run by what is found here, `tasks.doctor` shows it. Nothing is fetched and
no output is written. Imports no torch before `look_closer`.
"""

import importlib.util
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from storybook.vocabulary import CLASS_NAMES
from tasks import prompt_checks
from tasks.adapters import base_problem
from tasks.base_models import BaseModel, find_model, read_model
from tasks.checkpoints import find_initial
from tasks.finished_work import disk_problems
from tasks.image_text import find_image_text
from tasks.known_sources import how_to_get
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
from tasks.machine import gpu_problems, machine_problems
from tasks.model_checks import read_tokenizers, size_problems
from tasks.named_weights import find_named
from tasks.params import InputError, Params
from tasks.prompt_sources import Plan, prepare
from tasks.reference_checks import Reference, find_reference
from tasks.training_checks import check_training

log = logging.getLogger(__name__)

LEAST_GUIDE = 32
"""Pixels that the shorter side of the guided filter's smaller image must have."""
SET_KEYS = {
    "labelled_set": "train_reference.labelled_set",
    "test_set": "evaluate_segmenter.test_set",
}
SUBJECTS = (
    "prompts",
    "base model",
    "labelled sets",
    "adapter",
    "initial weights",
    "similarity model",
    "network",
    "masks",
    "machine",
)
"""What the checks are about, in their order."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Inputs:
    """What the parameters name, as far as it is there.

    Attributes:
        params, root: where it was looked for.
        errors: what counts as a finding; anything else is raised.
        plan: what prompts are made from.
        model: the base model.
        sets: the files of labelled sets from outside, by the names of `SET_KEYS`.
        reference: what ``adapt_lora`` works from.
        start: the initial weights.
        pretrained: the files of weights that the network's config names, by what it says.
        compared: the model that compares images with texts.
        problems: subject (one of `SUBJECTS`) and message of all that is wrong, as it was found.
    """

    params: Params
    root: Path
    errors: tuple[type[Exception], ...] = (InputError,)
    plan: Plan | None = None
    model: BaseModel | None = None
    sets: dict[str, list[Pair]] = field(default_factory=dict)
    reference: Reference | None = None
    start: Path | None = None
    pretrained: dict[str, Path] = field(default_factory=dict)
    compared: Path | None = None
    problems: list[tuple[str, str]] = field(default_factory=list)

    def add(self, subject: str, messages: list[str]) -> None:
        """Note what is wrong."""
        self.problems += [(subject, message) for message in messages]

    def attempt(
        self, subject: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """The function's result, or None and its message among the problems."""
        try:
            return function(*args, **kwargs)
        except self.errors as error:
            told = (
                str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            )
            self.add(subject, [told])
            return None

    def check(self, subject: str, function: Callable[..., list[str]], *args: object) -> None:
        """Note what a function says is wrong, or that it could not say."""
        self.add(subject, self.attempt(subject, function, *args) or [])


def find_inputs(
    params: Params, root: Path = Path(), errors: tuple[type[Exception], ...] = (InputError,)
) -> Inputs:
    """Look for all that the parameters name; opens no image and no weights.

    Args:
        errors: what is a finding rather than a failure of the search itself.
    """
    found = Inputs(params, root, errors)
    found.plan = found.attempt("prompts", prepare, params.expand_prompts, root)
    found.model = found.attempt(
        "base model", lambda: read_model(find_model(params.sample_images.model, root))
    )
    if found.model:
        found.check("base model", size_problems, params, found.model)
    for name, key in SET_KEYS.items():
        found.sets[name] = found.attempt("labelled sets", find_set, params, key, root) or []
    labelled, test = (set_path(params, key) for key in SET_KEYS.values())
    if labelled != "none" and os.path.abspath(root / labelled) == os.path.abspath(root / test):
        found.add(
            "labelled sets",
            [
                "train_reference.labelled_set: is the test set too; the reference would be "
                "measured on what it has learnt: choose another folder, or none"
            ],
        )
    found.reference = found.attempt("adapter", _find_reference, found)
    found.start = found.attempt(
        "initial weights", find_initial, params.train_segmenter.init_from, root
    )
    similarity = params.score_masks.similarity.model
    if similarity != "none":
        found.compared = found.attempt("similarity model", find_image_text, similarity, root)
    config = params.train_segmenter.config
    found.check("network", config_problems, config, root)
    if (root / config).is_file():
        found.pretrained = found.attempt("network", find_named, config, root) or {}
    found.check("masks", mask_problems, params)
    found.check("machine", disk_problems, params, root)
    found.check("machine", machine_problems, params, root)
    return found


def check_base(found: Inputs, digest: str) -> None:
    """Note it where a given adapter names another base model than the one of this digest."""
    if found.reference and found.reference.adapter:
        problem = base_problem(found.reference.adapter, digest)
        found.add("adapter", [problem] if problem else [])


def look_closer(found: Inputs) -> None:
    """What takes long.

    Decode labelled and reference images, count tokens, build the network and fit the initial
    weights to it, ask for a GPU.
    """
    params, model = found.params, found.model
    for name, key in SET_KEYS.items():
        pairs = found.sets[name]
        if pairs:
            log.info("reading %d labelled images of %s", len(pairs), key)
        faults = found.attempt(
            "labelled sets", check_pairs, pairs, len(params.expand_prompts.label_names)
        )
        where = f"{key}: {set_path(params, key)}"
        found.add("labelled sets", [f"{where}: {fault}" for fault in faults or []])
    encoders = found.attempt("base model", read_tokenizers, model) if model else None
    if encoders and found.plan:
        found.check("prompts", prompt_checks.prompt_problems, found.plan, *encoders)
    if encoders and found.reference:
        found.check("adapter", found.reference.slow_problems, *encoders)
    if all(subject != "network" for subject, _ in found.problems):
        found.attempt("network", check_training, params, found.start, found.root)
    found.check("machine", gpu_problems, params)


def _find_reference(found: Inputs) -> Reference:
    """`find_reference`, its message with how to get images of a preset that are not there."""
    images = found.params.adapt_lora.images
    try:
        return find_reference(found.params, found.plan, found.model, found.root)
    except InputError as error:
        there = (found.root / images).exists()
        raise InputError(f"{error}{'' if there else how_to_get(images)}") from None


def find_set(params: Params, key: str, root: Path) -> list[Pair]:
    """The files of a labelled set that lies outside the graph; none of one made by the graph.

    Raises:
        InputError: the set is not there, or its labels mean other classes than the run's.
    """
    value = set_path(params, key)
    inside = inside_storybook(value, root)
    if value == "none":
        return []
    if inside is None:
        try:
            pairs, set_names = list_pairs(root / value), class_list(root / value)
        except InputError as error:
            there = (root / value).is_dir()
            raise InputError(f"{key}: {error}{'' if there else how_to_get(value)}") from None
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


def config_problems(config: str, root: Path) -> list[str]:
    """Whether the segmentation network's config is there."""
    if (root / config).is_file():
        return []
    there = sorted((root / "mmseg_configs").glob("*/*.py"))
    no_configs = ("_base_", "reliability")
    names = some(
        path.relative_to(root).as_posix() for path in there if path.parent.name not in no_configs
    )
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


def set_path(params: Params, key: str) -> str:
    """The value of a dotted key, such as ``evaluate_segmenter.test_set``."""
    section, _, name = key.partition(".")
    return str(getattr(getattr(params, section), name))
