"""What the sections share: their base, and the kinds of value that several of them have."""

from collections import Counter
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, 0..1."""


class Section(BaseModel):
    """Base of all sections: frozen, and unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def each_once(items: tuple[T, ...]) -> tuple[T, ...]:
    """The items, if none stands twice."""
    if twice := [str(item) for item, count in Counter(items).items() if count > 1]:
        raise ValueError(f"each entry stands once; twice: {', '.join(twice)}")
    return items
