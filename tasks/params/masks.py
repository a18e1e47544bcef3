"""The section of the masks: a method to read them from attention, and their refinement."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from tasks.params.sampling import Sides, Step
from tasks.params.section import Section, Share


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
