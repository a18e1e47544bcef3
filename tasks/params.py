"""The parameters: one pydantic model per section of ``params.yaml``, one section per stage.

Unknown keys are refused. `load_params` turns every violation into one message that names the key,
the value, the rule and, for a misspelt key, the nearest match. Imports no torch.
"""

import difflib
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    field_validator,
    model_validator,
)

from tasks.class_lists import read_class_list

T = TypeVar("T")

BACKGROUND_NAME = "background"
"""What label value 0 is called where it is no class."""
Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, 0..1."""


class InputError(Exception):
    """Something the user gave cannot be used. The message names it, the rule and the remedy."""


class Section(BaseModel):
    """Base of all sections: frozen, and unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _each_once(items: tuple[T, ...]) -> tuple[T, ...]:
    """The items, if none stands twice."""
    for item in items:
        if items.count(item) > 1:
            raise ValueError(f"each entry stands once; twice: {item}")
    return items


class RenderStorybook(Section):
    """The embedded world's labelled image sets."""

    domain: Literal["page", "street", "none"]
    train: int = Field(ge=1)
    val: int = Field(ge=1)
    test: int = Field(ge=1)
    seed: int = Field(ge=0)


_WORD = re.compile(r"[^\W_]")


class ClassPhrases(Section):
    """A class to segment, what is meant by it, and the words for it."""

    name: str = Field(min_length=1)
    sense: str | None = None
    phrases: tuple[str, ...] | None = None
    synonyms: tuple[str, ...] | None = None
    hyponyms: tuple[str, ...] | None = None

    @field_validator("name")
    @classmethod
    def _a_name(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("a class needs a name")
        return value

    @field_validator("phrases")
    @classmethod
    def _some_phrase(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and not any(phrase.strip() for phrase in value):
            raise ValueError("a class needs at least one phrase; name one, or leave the key out")
        return value

    @field_validator("phrases", "synonyms", "hyponyms")
    @classmethod
    def _bare_words(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for phrase in value or ():
            if not _WORD.search(phrase):
                raise ValueError(f"a phrase has a word in it: {phrase!r}")
            if not phrase.isprintable() or "{" in phrase or "}" in phrase:
                raise ValueError(f"a phrase is one line of words, without braces: {phrase!r}")
            if phrase.split()[0].lower() in ("a", "an", "the"):
                raise ValueError(
                    f"a phrase stands without a, an or the, which the prompts put in: {phrase!r}"
                )
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


def _refuse_template(template: Any) -> None:
    """Refuse what is no line with one place for a class.

    Raises:
        ValueError: saying what is wrong.
    """
    if not isinstance(template, str) or template.count("{}") != 1:
        raise ValueError(f"a template has exactly one {{}} for the class: {template!r}")
    around = template.replace("{}", "")
    if "{" in around or "}" in around or not template.isprintable():
        raise ValueError(f"a template is one line, and has no braces beside its {{}}: {template!r}")


class ExpandPrompts(Section):
    """Classes, a lexicon, templates and captions to prompts."""

    classes: tuple[ClassPhrases, ...] = Field(min_length=1, max_length=65534)
    background: Literal["rest", "none"]
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
    always: tuple[str, ...]
    places: dict[str, str]
    negative_prompt: str
    seed: int = Field(ge=0)

    @field_validator("classes", mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            if not value:
                raise ValueError("name at least one class, or a list in classes_file")
            for item in value:
                if not isinstance(item, str | dict | ClassPhrases):
                    raise ValueError(
                        f"a class is a name or a mapping with a name, and {item!r} is neither; put "
                        f'a name that is a number or yes, no or null in quotes: "{item}"'
                    )
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

    @field_validator("always")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        twice = [name for name, count in Counter(value).items() if count > 1]
        if twice:
            raise ValueError(f"each class stands once; twice: {', '.join(twice)}")
        return value

    @field_validator("templates", mode="before")
    @classmethod
    def _slot(cls, value: Any) -> Any:
        if value == "default":
            return value
        if not isinstance(value, list | tuple):
            raise ValueError("must be `default` or a list of templates")
        if not value:
            raise ValueError("give at least one template, or `default`")
        for template in value:
            _refuse_template(template)
        return value

    @field_validator("places")
    @classmethod
    def _places(cls, value: dict[str, str]) -> dict[str, str]:
        for place in value.values():
            _refuse_template(place)
        return value

    @field_validator("pairs", mode="before")
    @classmethod
    def _two_each(cls, value: Any) -> Any:
        if value in ("any", "captions"):
            return value
        if not isinstance(value, list | tuple):
            raise ValueError("must be any, captions or a list of pairs, such as [[car, tree]]")
        for pair in value:
            names = pair if isinstance(pair, list | tuple) else ()
            if len(names) != 2 or not all(isinstance(name, str) for name in names):
                raise ValueError(f"a pair is a list of two class names, and {pair!r} is none")
            if names[0] == names[1]:
                raise ValueError(f"a pair has two different classes: [{', '.join(names)}]")
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

    @model_validator(mode="after")
    def _one_background(self) -> "ExpandPrompts":
        if self.background == "rest" and BACKGROUND_NAME in self.class_names:
            raise ValueError(
                f"classes: {BACKGROUND_NAME} is what background: rest calls the pixels of no "
                "class; leave that class out"
            )
        return self

    @property
    def class_names(self) -> list[str]:
        """The classes, in the order of the list."""
        return [item.name for item in self.classes]

    @property
    def label_names(self) -> list[str]:
        """Names by label value: the classes, behind the background where there is one."""
        rest = [BACKGROUND_NAME] if self.background == "rest" else []
        return [*rest, *self.class_names]

    @property
    def label_values(self) -> dict[str, int]:
        """Class name -> label value; the background is no class."""
        first = len(self.label_names) - len(self.classes)
        return {name: value for value, name in enumerate(self.class_names, first)}


class AdaptLora(Section):
    """LoRA (arXiv 2106.09685) of the base model on unlabelled images of the target domain."""

    adapter: str = Field(min_length=1)
    images: str = Field(min_length=1)
    max_images: int | None = Field(ge=2)
    captions: str = Field(min_length=1)
    template: str
    framing: Literal["crop", "buckets"]
    crops_per_image: int = Field(ge=1)
    flip: bool
    rank: int = Field(ge=1)
    alpha: float = Field(gt=0)
    layers: tuple[Literal["self", "cross"], ...] = Field(min_length=1)
    targets: tuple[Literal["to_q", "to_k", "to_v", "to_out.0"], ...] = Field(min_length=1)
    learning_rate: float = Field(gt=0)
    warmup: int = Field(ge=0)
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    gradient_accumulation: int = Field(ge=1)
    gradient_checkpointing: bool
    snr_gamma: float | None = Field(gt=0)
    noise_offset: float = Field(ge=0)
    caption_dropout: Share
    prior_share: Annotated[float, Field(ge=0, lt=1)]
    prior_images: int = Field(ge=1)
    prior_template: str
    dtype: Literal["float32", "bfloat16"]
    val_share: Annotated[float, Field(gt=0, le=0.5)]
    eval_interval: int = Field(ge=1)
    patience: int = Field(ge=1)
    seed: int = Field(ge=0)
    device: str = Field(min_length=1)
    scale: float = Field(ge=0)

    @field_validator("layers", "targets")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _each_once(value)

    @field_validator("template", "prior_template")
    @classmethod
    def _a_line(cls, value: str) -> str:
        around = value.replace("{}", "", 1)
        if not value.strip() or not value.isprintable() or "{" in around or "}" in around:
            raise ValueError("a template is one line with one {} at most, and no other braces")
        return value

    @field_validator("prior_template")
    @classmethod
    def _slot(cls, value: str) -> str:
        if "{}" not in value:
            raise ValueError("must have a {} for the class")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "AdaptLora":
        if self.adapter == "train" and self.images == "none":
            raise ValueError("adapter: train needs images, a folder or a glob, not none")
        if "{}" in self.template and self.captions in ("none", "sidecar"):
            raise ValueError(
                f"template has a {{}} for the classes of an image, and captions: {self.captions} "
                "lists none; name a JSON file under captions, or drop the {}"
            )
        if self.prior_share and not 0 < self.prior_rows < self.rows:
            raise ValueError(
                f"prior_share {self.prior_share:g} of a step's {self.rows} images (batch_size x "
                f"gradient_accumulation) is {self.prior_rows}; it must leave at least one of each "
                "kind"
            )
        return self

    @property
    def rows(self) -> int:
        """Images in one step of the optimiser."""
        return self.batch_size * self.gradient_accumulation

    @property
    def prior_rows(self) -> int:
        """How many of them are the base model's own."""
        return round(self.prior_share * self.rows)

    def held_out(self, images: int) -> int:
        """How many of so many images are not trained on: at least one."""
        return max(1, round(self.val_share * images))


def _a_step(value: Any) -> Any:
    if value != "middle" and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError("must be middle or a step counted from 0")
    return value


def _a_step_or_all(value: Any) -> Any:
    if value != "all":
        try:
            return _a_step(value)
        except ValueError:
            raise ValueError("must be middle, all or a step counted from 0") from None
    return value


Step = Annotated[int | str, PlainValidator(_a_step)]
"""A denoising step: its index from 0, or the middle one."""
Steps = Annotated[int | str, PlainValidator(_a_step_or_all)]
"""A denoising step, or all of them."""
Sides = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
"""Longer sides of attention maps, in positions."""


class CaptureSelfAttention(Section):
    """Self-attention of one resolution at one step: (h w)^2 numbers a sample."""

    resolution: int = Field(ge=1)
    step: Step


class Capture(Section):
    """What is kept of the attention, for the mask methods to work from."""

    steps: Annotated[tuple[Steps, ...], Field(min_length=1)]
    resolutions: Sides | None
    self_attention: CaptureSelfAttention | None

    @field_validator("steps", "resolutions")
    @classmethod
    def _once(cls, value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        return value if value is None else _each_once(value)

    def lacks_resolutions(self, wanted: tuple[int, ...] | None) -> list[int]:
        """The sides of ``wanted`` that are not kept."""
        if self.resolutions is None or wanted is None:
            return []
        return [side for side in wanted if side not in self.resolutions]


class SampleImages(Section):
    """Sampling with the attention traced."""

    model: str = Field(min_length=1)
    height: int = Field(ge=8)
    width: int = Field(ge=8)
    num_inference_steps: int = Field(ge=1)
    guidance_scale: float = Field(ge=0)
    capture: Capture
    batch_size: int = Field(ge=1)
    shard_size: int = Field(ge=1)
    dtype: Literal["float32", "bfloat16", "float16"]
    device: str = Field(min_length=1)

    @model_validator(mode="after")
    def _steps_exist(self) -> "SampleImages":
        kept = self.capture.self_attention
        named = {"capture.steps": self.capture.steps}
        if kept is not None:
            named["capture.self_attention.step"] = (kept.step,)
        for key, steps in named.items():
            for step in steps:
                if isinstance(step, int) and step >= self.num_inference_steps:
                    raise ValueError(
                        f"{key} must lie below num_inference_steps = {self.num_inference_steps}, "
                        f"not {step}; middle takes the middle step"
                    )
        return self


class Attn2Mask(Section):
    """Attention at one step, a background channel, argmax (arXiv 2309.01369)."""

    step: Step
    resolutions: Sides | None
    beta: Share


class Averaged(Section):
    """Attention averaged over all steps, as DAAM reads it (arXiv 2210.04885)."""

    resolutions: Sides | None
    beta: Share


class SelfAttention(Section):
    """Cross-attention spread by self-attention (Dataset Diffusion, arXiv 2309.14303)."""

    resolutions: Sides | None
    power: int = Field(ge=0)
    foreground: Share
    ignore: Share

    @model_validator(mode="after")
    def _band(self) -> "SelfAttention":
        if self.ignore > self.foreground:
            raise ValueError(
                f"ignore must not be above foreground, not {self.ignore} and {self.foreground}"
            )
        return self


class DiffuMask(Section):
    """Resolutions averaged, a threshold for each image and class (arXiv 2303.11681)."""

    resolutions: Sides | None
    lowest: Share
    highest: Share
    min_box: Share

    @model_validator(mode="after")
    def _ordered(self) -> "DiffuMask":
        if self.lowest > self.highest:
            raise ValueError(
                f"lowest must not be above highest, not {self.lowest} and {self.highest}"
            )
        return self


class GuidedFilter(Section):
    """Edge-aware smoothing of the class scores by the image (He et al. 2013 and 2015)."""

    radius: int = Field(ge=1)
    epsilon: float = Field(gt=0)
    subsample: int = Field(ge=1)
    iterations: int = Field(ge=1)
    sharpness: float = Field(gt=0)

    @model_validator(mode="after")
    def _window(self) -> "GuidedFilter":
        if self.radius < self.subsample:
            raise ValueError(
                "radius must be at least subsample, so that the window on the smaller image holds "
                f"a pixel on each side, not {self.radius} and {self.subsample}"
            )
        return self


class DenseCrf(Section):
    """The fully connected CRF's kernels (Krähenbühl, Koltun, NIPS 2011, eq. 3)."""

    iterations: int = Field(ge=1)
    bilateral_weight: float = Field(ge=0)
    bilateral_xy: float = Field(gt=0)
    bilateral_rgb: float = Field(gt=0)
    gaussian_weight: float = Field(ge=0)
    gaussian_xy: float = Field(gt=0)


class ExtractMasks(Section):
    """Attention maps to label maps and reliability."""

    method: Literal["attn2mask", "averaged", "self_attention", "diffumask"]
    attn2mask: Attn2Mask
    averaged: Averaged
    self_attention: SelfAttention
    diffumask: DiffuMask
    refine: Literal["none", "guided", "crf"]
    guided: GuidedFilter
    crf: DenseCrf
    response_scalings: tuple[Annotated[float, Field(gt=0)], ...]
    batch_size: int = Field(ge=1)

    @field_validator("response_scalings")
    @classmethod
    def _several(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) == 1 or len(set(value)) < len(value):
            raise ValueError(f"must be none, [], or several different factors, not {list(value)}")
        return value

    @property
    def step(self) -> int | str:
        """The entry of ``sample_images.capture.steps`` that the method reads."""
        return self.attn2mask.step if self.method == "attn2mask" else "all"

    @property
    def resolutions(self) -> tuple[int, ...] | None:
        """Sides of the maps that the method reads; None is all that are kept."""
        sides: tuple[int, ...] | None = getattr(self, self.method).resolutions
        return sides

    @property
    def all_claimed(self) -> bool:
        """Whether every pixel goes to a class, the best one: where beta is 1."""
        return getattr(getattr(self, self.method), "beta", 0) == 1

    @property
    def needs_crf(self) -> bool:
        """Whether the dense CRF has to be installed."""
        return self.refine == "crf" or self.method == "diffumask"


class Similarity(Section):
    """How well the image fits its prompt, by a CLIP or SigLIP model."""

    model: str = Field(min_length=1)
    batch_size: int = Field(ge=1)
    device: str = Field(min_length=1)


class CrossValidation(Section):
    """Label quality by networks that did not see the sample, after DiffuMask (arXiv 2303.11681)."""

    folds: int = Field(ge=0)
    iterations: int = Field(ge=1)
    temperature: float = Field(gt=0)
    seed: int = Field(ge=0)

    @field_validator("folds")
    @classmethod
    def _at_least_two(cls, value: int) -> int:
        if value == 1:
            raise ValueError("must be 0 (off) or at least 2: a network is trained on the others")
        return value


class ScoreMasks(Section):
    """What can be said of each sample, for `FilterMasks` to decide by."""

    duplicate_distance: int = Field(ge=0, le=16)
    similarity: Similarity
    cross_validation: CrossValidation


class Quantile(Section):
    """A bound that is a quantile of the class's scores in the dataset."""

    quantile: Share


class Ratio(Section):
    """A bound in multiples of the smallest class."""

    ratio: float = Field(ge=1)


def _bound(lowest: float, highest: float) -> BeforeValidator:
    """A rule for what bounds a score: a number in a range, a quantile, or nothing."""
    wanted = f"must be a number from {lowest:g} to {highest:g}, {{quantile: 0.05}} or null"

    def check(value: Any) -> float | Quantile | None:
        if isinstance(value, dict):
            try:
                return Quantile.model_validate(value)
            except ValidationError:
                raise ValueError(f"{wanted}; a quantile is from 0 to 1") from None
        if value is None or isinstance(value, Quantile):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(wanted)
        if not lowest <= value <= highest:
            raise ValueError(wanted)
        return value

    return BeforeValidator(check)


ShareBound = Annotated[float | Quantile | None, _bound(0, 1)]
GreyBound = Annotated[float | Quantile | None, _bound(0, 255)]
CosineBound = Annotated[float | Quantile | None, _bound(-1, 1)]
CountBound = Annotated[float | Quantile | None, _bound(1, 1e9)]


def _most(value: Any) -> int | Ratio | None:
    if isinstance(value, dict):
        try:
            return Ratio.model_validate(value)
        except ValidationError:
            raise ValueError("a ratio is 1 or more, such as {ratio: 2.0}") from None
    if value is None or isinstance(value, Ratio):
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("must be a number of samples, {ratio: 2.0} or null")
    return value


class FilterMasks(Section):
    """Scores to verdicts, and the split."""

    min_area: ShareBound
    max_area: ShareBound
    min_peak: ShareBound
    min_margin: ShareBound
    max_entropy: ShareBound
    min_agreement: ShareBound
    max_components: CountBound
    min_largest: ShareBound
    max_border: ShareBound
    max_dark: ShareBound
    min_contrast: GreyBound
    min_similarity: CosineBound
    min_quality: ShareBound
    duplicates: Literal["keep", "reject"]
    duplicate_distance: int = Field(ge=0)
    max_per_class: Annotated[int | Ratio | None, BeforeValidator(_most)]
    min_per_class: int = Field(ge=0)
    absent: Literal["reject", "allow"]
    val_share: Annotated[float, Field(ge=0, le=0.5)]
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> "FilterMasks":
        low, high = self.min_area, self.max_area
        if isinstance(low, int | float) and isinstance(high, int | float) and low >= high:
            raise ValueError(f"min_area must be below max_area, not {low} and {high}")
        return self


class IgnoreBand(Section):
    """The least reliable pixels have no label."""

    quantile: Annotated[float, Field(ge=0, lt=1)]


class Weighted(Section):
    """The loss weighs each pixel by its reliability."""

    least: Share


class Urn(Section):
    """The loss weighs each pixel by how little its label varies (URN, AAAI 2022)."""

    sharpness: float = Field(gt=0)


class CoTraining(Section):
    """Two networks, each taught by the other where labels are doubtful (BECO, CVPR 2023)."""

    quantile: Annotated[float, Field(ge=0, lt=1)]
    border_weight: float = Field(ge=0)
    classmix: Annotated[float, Field(ge=0, lt=1)]
    classmix_from: Share
    confidence: Share


class TrainSegmenter(Section):
    """The network's recipe, the same for the synthetic training and the reference."""

    config: str = Field(min_length=1)
    init_from: str = Field(min_length=1)
    iterations: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    accumulation: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    dtype: Literal["float32", "bfloat16", "float16"]
    reliability: Literal["none", "ignore_band", "weighted", "urn", "co_training"]
    warmup: Share
    fade: Share
    ignore_band: IgnoreBand
    weighted: Weighted
    urn: Urn
    co_training: CoTraining
    ema: Annotated[float, Field(ge=0, lt=1)]
    keep: Literal["last", "best"]
    patience: int | None = Field(ge=1)
    checkpoint_interval: int = Field(ge=1)
    num_workers: int = Field(ge=0)
    deterministic: bool
    tensorboard: bool
    seed: int = Field(ge=0)
    device: str = Field(min_length=1)

    @model_validator(mode="after")
    def _schedule_fits(self) -> "TrainSegmenter":
        if self.warmup + self.fade > 1:
            raise ValueError(
                f"warmup + fade are shares of the iterations, 1 at most, not {self.warmup} and "
                f"{self.fade}"
            )
        if self.co_training.classmix_from < self.warmup:
            raise ValueError(
                "co_training.classmix_from must not lie before warmup ends, not "
                f"{self.co_training.classmix_from} and {self.warmup}"
            )
        if self.checkpoint_interval % self.accumulation:
            raise ValueError(
                "checkpoint_interval must be a multiple of accumulation, since a checkpoint keeps "
                f"no gradients, not {self.checkpoint_interval} and {self.accumulation}"
            )
        return self

    @property
    def knobs(self) -> dict[str, Any]:
        """The values of the method that ``reliability`` names; none for ``none``."""
        return {} if self.reliability == "none" else getattr(self, self.reliability).model_dump()


class TrainReference(Section):
    """The same network trained on real labels, to measure against."""

    labelled_set: str = Field(min_length=1)


class EvaluateSegmenter(Section):
    """The measurement on real labelled images."""

    test_set: str = Field(min_length=1)
    batch_size: int = Field(ge=1)
    window: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None
    flip: bool
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]


class WriteReport(Section):
    """The pages to look at."""

    gallery: int = Field(ge=0)
    seed: int = Field(ge=0)


class Params(Section):
    """The whole of ``params.yaml``."""

    render_storybook: RenderStorybook
    expand_prompts: ExpandPrompts
    adapt_lora: AdaptLora
    sample_images: SampleImages
    extract_masks: ExtractMasks
    score_masks: ScoreMasks
    filter_masks: FilterMasks
    train_segmenter: TrainSegmenter
    train_reference: TrainReference
    evaluate_segmenter: EvaluateSegmenter
    write_report: WriteReport

    @model_validator(mode="after")
    def _methods_find_their_inputs(self) -> "Params":
        capture, masks = self.sample_images.capture, self.extract_masks
        wants = f"extract_masks.method {masks.method} reads"
        problems = []
        if masks.step not in capture.steps:
            problems.append(
                f"sample_images.capture.steps: {wants} {masks.step!r}, which is not kept; "
                f"add it to [{', '.join(map(str, capture.steps))}]"
            )
        for side in capture.lacks_resolutions(masks.resolutions):
            problems.append(
                f"sample_images.capture.resolutions: {wants} side {side}, which is not kept; "
                f"add it, or change extract_masks.{masks.method}.resolutions"
            )
        if masks.method == "self_attention" and capture.self_attention is None:
            problems.append(
                f"sample_images.capture.self_attention: {wants} it, and null keeps none; give "
                "{resolution: 32, step: middle}, with a side that the model has"
            )
        if self.train_segmenter.reliability == "urn" and not masks.response_scalings:
            problems.append(
                "extract_masks.response_scalings: train_segmenter.reliability urn reads how the "
                "label varies over them, and there are none; give [0.5, 0.7, 1.0, 1.4, 2.0]"
            )
        problems += self._scores_lacking()
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _scores_lacking(self) -> list[str]:
        """Rules of ``filter_masks`` for scores that ``score_masks`` does not make."""
        scores, rules = self.score_masks, self.filter_masks
        problems = []
        if rules.min_similarity is not None and scores.similarity.model == "none":
            problems.append(
                "score_masks.similarity.model: filter_masks.min_similarity needs a CLIP or SigLIP "
                "model, not none; name one, or set the rule to null"
            )
        if rules.min_quality is not None and not scores.cross_validation.folds:
            problems.append(
                "score_masks.cross_validation.folds: filter_masks.min_quality needs 2 or more, "
                "not 0; set folds: 3, or the rule to null"
            )
        found = scores.duplicate_distance
        if rules.duplicates == "reject" and rules.duplicate_distance > found:
            problems.append(
                "score_masks.duplicate_distance: filter_masks.duplicate_distance asks for "
                f"{rules.duplicate_distance} bits, and duplicates are looked for up to {found}; "
                "raise it"
            )
        return problems


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


_OTHER_WORDS = {
    "tuple_type": "must be a list, such as [a, b]",
    "model_type": "must be a mapping, such as {key: value}",
}
"""Rules in YAML's words where pydantic's are Python's."""


def _describe(path: Path, item: Any) -> str:
    """One violation as "file: key: rule, not value; remedy"."""
    location = item["loc"]
    if not location:  # a rule between sections, which names its keys itself
        lines = re.sub("^Value error, ", "", item["msg"]).splitlines()
        return "\n".join(f"{path}: {line}" for line in lines)
    key = ".".join(str(part) for part in location)
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(location[-1]), _known_keys(location[:-1]), 1, 0.5)
        known = ", ".join(_known_keys(location[:-1]))
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {known}"
        return f"{path}: {key}: unknown key (value {item['input']!r}); {hint}"
    if item["type"] == "missing":
        return f"{path}: {key}: required key is missing; the presets show every key with a comment"
    rule = _OTHER_WORDS.get(item["type"]) or re.sub("^Value error, ", "", item["msg"])
    value = "" if isinstance(item["input"], dict | list | tuple) else f", not {item['input']!r}"
    return f"{path}: {key}: {rule}{value}"
