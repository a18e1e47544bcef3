"""The section of the sampling, and what it keeps of the attention."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, field_validator, model_validator

from tasks.params.section import Section, each_once


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
Scheduler = Literal["model", "ddim", "euler", "dpm", "unipc"]
"""The model's own, or one of `tasks.pipelines.SCHEDULERS`."""


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
        return value if value is None else each_once(value)

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
    scheduler: Scheduler
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
