"""The section of the prompts: classes, their words, and the sentences around them."""

import re
from collections import Counter
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from tasks.params.section import Section, Share, each_once

BACKGROUND_NAME = "background"
"""What label value 0 is called where it is no class."""
Relation = Literal["plain", "synonym", "hyponym"]
"""How a prompt calls a class: by its own name, another word for the same, or a kind of it."""
RELATIONS: tuple[Relation, ...] = get_args(Relation)
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
        return each_once(value)

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
