"""The sections of the filtering: scores of each sample, and the rules that decide by them."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from tasks.params.section import Section, Share


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
    duplicate_distance: int = Field(ge=0, le=16)
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
