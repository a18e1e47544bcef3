"""The section of the training, with the methods that make use of reliability."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tasks.params.section import Section, Share


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
    sure: Share
    cross_from: Share
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
