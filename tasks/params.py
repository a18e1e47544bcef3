"""The parameters: one pydantic model per section of ``params.yaml``, one section per stage.

Unknown keys are refused. `load_params` turns every violation into one message that names the key,
the value, the rule and, for a misspelt key, the nearest match. Imports no torch.
"""

import difflib
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tasks.class_lists import read_class_list

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, 0..1."""


class InputError(Exception):
    """Something the user gave cannot be used. The message names it, the rule and the remedy."""


class Section(BaseModel):
    """Base of all sections: frozen, and unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RenderStorybook(Section):
    """The embedded world's labelled image sets."""

    domain: Literal["page", "street", "none"]
    train: int = Field(ge=1)
    val: int = Field(ge=1)
    test: int = Field(ge=1)
    seed: int = Field(ge=0)


class ClassPhrases(Section):
    """A class to segment, what is meant by it, and the words for it."""

    name: str = Field(min_length=1)
    sense: str | None = None
    phrases: tuple[str, ...] | None = None
    synonyms: tuple[str, ...] | None = None
    hyponyms: tuple[str, ...] | None = None

    @field_validator("phrases")
    @classmethod
    def _some_phrase(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and not any(phrase.strip() for phrase in value):
            raise ValueError("a class needs at least one phrase; name one, or leave the key out")
        return value


class PromptShares(Section):
    """Shares of prompts by how the class is named; they add up to 1."""

    plain: Share
    synonym: Share
    hyponym: Share

    @model_validator(mode="after")
    def _whole(self) -> "PromptShares":
        total = self.plain + self.synonym + self.hyponym
        if abs(total - 1) > 1e-6:
            raise ValueError(f"plain + synonym + hyponym must be 1, not {total:g}")
        return self


class SourceShares(Section):
    """Shares of prompts by where their sentence comes from; they add up to 1."""

    templates: Share
    captions: Share
    classes_appended: Share

    @model_validator(mode="after")
    def _whole(self) -> "SourceShares":
        total = self.templates + self.captions + self.classes_appended
        if abs(total - 1) > 1e-6:
            raise ValueError(f"templates + captions + classes_appended must be 1, not {total:g}")
        return self


class ExpandPrompts(Section):
    """Classes, a lexicon, templates and captions to prompts."""

    classes: tuple[ClassPhrases, ...] = Field(min_length=1, max_length=254)
    classes_file: str = Field(min_length=1)
    lexicon: str = Field(pattern=r"^(builtin|wordnet:.+)$")
    hyponym_depth: int = Field(ge=1)
    depth_weight: float = Field(gt=0, le=1)
    stop_words: tuple[str, ...]
    sources: SourceShares
    templates: Literal["default"] | tuple[str, ...]
    captions: str = Field(min_length=1)
    images_per_class: int = Field(ge=1)
    shares: PromptShares
    several_share: Share
    max_classes: int = Field(ge=2)
    pairs: Literal["any", "captions"] | tuple[tuple[str, str], ...]
    negative_prompt: str
    seed: int = Field(ge=0)

    @field_validator("classes", mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            if not value:
                raise ValueError("name at least one class, or a list in classes_file")
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value

    @field_validator("classes")
    @classmethod
    def _distinct(cls, value: tuple[ClassPhrases, ...]) -> tuple[ClassPhrases, ...]:
        counted = Counter(item.name for item in value)
        twice = [name for name, count in counted.items() if count > 1]
        if twice:
            raise ValueError(f"each class name stands once; twice: {', '.join(twice)}")
        return value

    @field_validator("templates")
    @classmethod
    def _slot(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value:
            raise ValueError("give at least one template, or `default`")
        for template in () if isinstance(value, str) else value:
            if template.count("{}") != 1:
                raise ValueError(f"a template has exactly one {{}} for the class: {template!r}")
        return value

    @model_validator(mode="after")
    def _captions_there(self) -> "ExpandPrompts":
        asked = [
            key
            for key, wanted in (
                ("sources.captions", self.sources.captions),
                ("sources.classes_appended", self.sources.classes_appended),
                ("pairs", self.pairs == "captions"),
            )
            if wanted
        ]
        if asked and self.captions == "none":
            raise ValueError(f"{', '.join(asked)}: needs captions, a text or JSON file, not none")
        return self

    @property
    def class_names(self) -> list[str]:
        """Class names in label order: label value = position + 1, 0 is the background."""
        return [item.name for item in self.classes]


class AdaptLora(Section):
    """LoRA of the base model on images of the target domain."""

    enabled: Literal[False]


class SampleImages(Section):
    """Sampling with the attention traced."""

    model: str = Field(min_length=1)
    height: int = Field(ge=8)
    width: int = Field(ge=8)
    num_inference_steps: int = Field(ge=1)
    guidance_scale: float = Field(ge=0)
    attention_step: int | None = Field(ge=0)
    attention_resolution: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    shard_size: int = Field(ge=1)
    dtype: Literal["float32", "bfloat16", "float16"]
    device: str = Field(min_length=1)

    @model_validator(mode="after")
    def _step_exists(self) -> "SampleImages":
        if self.attention_step is not None and self.attention_step >= self.num_inference_steps:
            raise ValueError(
                f"attention_step must lie below num_inference_steps = {self.num_inference_steps}, "
                f"not {self.attention_step}; null takes the middle step"
            )
        return self

    @property
    def traced_step(self) -> int:
        """Index of the denoising step at which attention is read."""
        if self.attention_step is not None:
            return self.attention_step
        return self.num_inference_steps // 2


class GuidedFilter(Section):
    """Edge-aware smoothing of the class stack by the image (He et al. 2013)."""

    radius: int = Field(ge=1)
    epsilon: float = Field(gt=0)


class ExtractMasks(Section):
    """Heat maps to label maps and reliability."""

    beta: float = Field(ge=0, lt=1)
    refine: Literal["none", "guided"]
    guided: GuidedFilter


class FilterMasks(Section):
    """Scores to verdicts, and the split."""

    min_area: Share
    max_area: Share
    min_peak: Share
    min_margin: Share
    val_share: Annotated[float, Field(ge=0, le=0.5)]
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> "FilterMasks":
        if self.min_area >= self.max_area:
            raise ValueError(
                f"min_area must be below max_area, not {self.min_area} and {self.max_area}"
            )
        return self


class TrainSegmenter(Section):
    """The network's recipe, the same for the synthetic training and the reference."""

    config: str = Field(min_length=1)
    iterations: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    reliability: Literal["none", "weighted"]
    checkpoint_interval: int = Field(ge=1)
    num_workers: int = Field(ge=0)
    seed: int = Field(ge=0)
    device: str = Field(min_length=1)


class TrainReference(Section):
    """The same network trained on real labels, to measure against."""

    labelled_set: str = Field(min_length=1)


class EvaluateSegmenter(Section):
    """The measurement on real labelled images."""

    test_set: str = Field(min_length=1)
    batch_size: int = Field(ge=1)


class WriteReport(Section):
    """The page to look at."""

    gallery: int = Field(ge=0)
    seed: int = Field(ge=0)


class Params(Section):
    """The whole of ``params.yaml``."""

    render_storybook: RenderStorybook
    expand_prompts: ExpandPrompts
    adapt_lora: AdaptLora
    sample_images: SampleImages
    extract_masks: ExtractMasks
    filter_masks: FilterMasks
    train_segmenter: TrainSegmenter
    train_reference: TrainReference
    evaluate_segmenter: EvaluateSegmenter
    write_report: WriteReport


def load_params(path: Path = Path("params.yaml"), lists: Path | None = Path()) -> Params:
    """Read and check ``params.yaml``, the class list that it names included.

    Args:
        lists: where the path of ``expand_prompts.classes_file`` begins; None leaves the list
            unread, and it stands for one class, so that a preset can be checked without it.

    Raises:
        InputError: the file is missing, is no YAML, or breaks a rule; all violations are listed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; run from the repository root, or choose a preset with "
            "`python -m tasks.presets use storybook`"
        ) from None
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: must hold one mapping with a section per stage")
    if isinstance(raw.get("expand_prompts"), dict):
        try:
            _fill_classes(raw["expand_prompts"], lists)
        except ValueError as error:
            raise InputError(f"{path}: expand_prompts.classes_file: {error}") from None
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise InputError("\n".join(_describe(path, item) for item in _causes(error))) from None


def _fill_classes(section: dict[str, Any], lists: Path | None) -> None:
    """Put the classes of ``classes_file`` in; those under ``classes`` replace their sense's."""
    file, own = section.get("classes_file"), section.get("classes")
    if not isinstance(file, str) or file in ("", "none") or not isinstance(own, list):
        return
    if lists is None:
        section["classes"] = [{"name": file}]
        return
    listed = read_class_list(lists / file)
    position = {item["sense"]: number for number, item in enumerate(listed)}
    for item in own:
        sense = item.get("sense") if isinstance(item, dict) else None
        if sense not in position:
            raise ValueError(
                f"{file}: beside a list, expand_prompts.classes only changes classes of it, by "
                f"their sense, and {item!r} is none; drop it, or give `sense:` a wnid of the list"
            )
        listed[position[sense]] = item
    section["classes"] = listed


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys that the section at ``location`` allows."""
    model: Any = Params
    for key in location:
        if isinstance(key, int):
            continue
        annotation = model.model_fields[key].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)


def _causes(error: ValidationError) -> list[Any]:
    """The violations but for lists called too short only because an item of theirs was refused."""
    items = error.errors()
    places = [item["loc"] for item in items]
    return [
        item
        for item in items
        if item["type"] != "too_short"
        or not any(at[: len(item["loc"])] == item["loc"] != at for at in places)
    ]


def _describe(path: Path, item: Any) -> str:
    """One violation as "file: key: rule, not value; remedy"."""
    location = item["loc"]
    key = ".".join(str(part) for part in location)
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(location[-1]), _known_keys(location[:-1]), 1, 0.5)
        known = ", ".join(_known_keys(location[:-1]))
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {known}"
        return f"{path}: {key}: unknown key (value {item['input']!r}); {hint}"
    if item["type"] == "missing":
        return f"{path}: {key}: required key is missing; the presets show every key with a comment"
    rule = re.sub("^Value error, ", "", item["msg"])
    value = "" if isinstance(item["input"], dict | list | tuple) else f", not {item['input']!r}"
    return f"{path}: {key}: {rule}{value}"
