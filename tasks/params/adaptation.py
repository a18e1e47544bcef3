"""The section of the adaptation: a LoRA of the base model."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from tasks.params.section import Section, Share, each_once


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
        return each_once(value)

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
