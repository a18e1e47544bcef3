"""The sections of the measurement: labelled images, the reference, the evaluation, the report."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.params.section import Section


class RenderStorybook(Section):
    """The embedded world's labelled image sets."""

    domain: Literal["page", "street", "none"]
    train: int = Field(ge=1)
    val: int = Field(ge=1)
    test: int = Field(ge=1)
    seed: int = Field(ge=0)


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
