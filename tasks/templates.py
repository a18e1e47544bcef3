"""Templates: sentences with one place for a class, and how a word goes into it.

``{}`` is the place. A word before it that counts or determines is made to fit: "a {}" becomes "an
oak" or "grass", "two {}" becomes "two wolves".
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

from tasks.english import AMOUNTS, QUANTIFIERS, article, plural, with_article

OPENINGS = (
    "a photo of a {}",
    "a photo of one {}",
    "a colour photo of a {}",
    "a sharp photo of a {}",
    "a detailed photo of a {}",
    "an ordinary photo of a {}",
    "a professional photo of a {}",
    "a snapshot of a {}",
    "a picture of a {}",
    "a photo of two {}",
    "a photo of several {}",
)
VIEWS = (
    "",
    " from the side",
    " from the front",
    " from above",
    " from a low angle",
    " up close",
    " at some distance",
    " at eye level",
    " in the middle of the picture",
    " to one side of the picture",
)
SETTINGS = (
    "",
    " in daylight",
    " in bright sunlight",
    " in soft light",
    " at dusk",
    " early in the morning",
    " on a cloudy day",
    " on a rainy day",
    " outdoors",
    " with a blurred background",
    " before a plain background",
    " before a busy background",
)
DEFAULT = tuple("".join(parts) for parts in product(OPENINGS, VIEWS, SETTINGS))
"""The default set: 1,320 ways to say that there is a photo of it, whatever it is."""

_DETERMINERS = "|".join((*AMOUNTS, *sorted(QUANTIFIERS), "an?", "one", "1"))
_DETERMINED = re.compile(
    rf"(?P<before>.*?)(?:\b(?P<determiner>{_DETERMINERS}) "
    r"(?P<adjectives>(?:(?!(?:of|in|on|at|by|with|and|or) )[\w-]+ ){0,2}))?",
    re.IGNORECASE,
)

Filled = tuple[str, list[tuple[int, int]]]
"""A text, and the first and last-plus-one character of each phrase in it."""


@dataclass(frozen=True)
class Template:
    """A template in its parts: before, determiner, adjectives, the place, after."""

    text: str
    before: str
    determiner: str
    adjectives: str
    after: str


@cache
def parse(text: str) -> Template:
    """Cut a template at what the class's word has to agree with."""
    left, _, after = text.partition("{}")
    match = _DETERMINED.fullmatch(left)
    if match is None:  # a line break, say: then nothing is made to agree
        return Template(text, left, "", "", after)
    determiner, adjectives = match["determiner"] or "", match["adjectives"] or ""
    return Template(text, match["before"], determiner, adjectives, after)


def agree(template: Template, word: str) -> tuple[str, str]:
    """What stands before a word in a template, and the word in the number asked for."""
    determiner = template.determiner.lower()
    alone = article(word)
    if not determiner:
        return template.before, word
    if determiner not in ("a", "an"):
        word = word if determiner in ("one", "1") else plural(word)
        shown = determiner if alone in ("a", "an") else alone
    elif template.adjectives:
        shown = article(template.adjectives + word)
    else:
        shown = alone
    lead = f"{shown} {template.adjectives}" if shown else template.adjectives
    if template.determiner[0].isupper():
        lead, word = (upper_first(lead), word) if lead else (lead, upper_first(word))
    return template.before + lead, word


def upper_first(text: str) -> str:
    """The text with a capital first letter, the others as they are."""
    return text[:1].upper() + text[1:]


def placed(names: Sequence[str], places: Mapping[str, Template]) -> dict[int, Template]:
    """Positions of the names that are said in a way of their own, in the order of saying them."""
    return {names.index(name): place for name, place in places.items() if name in names}


def fill(template: Template, words: Sequence[str], places: Mapping[int, Template] = {}) -> Filled:
    """Put one or several words into a template: "a {}" -> "a car, an oak and an SUV".

    The first word takes the place, each further one follows with its own article. Words with a
    place of their own stand behind these: "on {}" -> "a car and an oak on grass".

    Args:
        template: the sentence.
        words: one or more.
        places: position in ``words`` -> how that word is said; in this order. Where all have one,
            the first word is said as if it had none.

    Returns:
        The text and, in the order of ``words``, where each stands.
    """
    listed = [number for number in range(len(words)) if number not in places] or [0]
    text, first = agree(template, words[listed[0]])
    spans = {listed[0]: (len(text), len(text) + len(first))}
    text += first
    for number in listed[1:]:
        text += " and " if number == listed[-1] else ", "
        text += with_article(words[number])
        spans[number] = (len(text) - len(words[number]), len(text))
    for number, place in places.items():
        if number not in listed:
            lead, word = agree(place, words[number])
            text += f" {lead}"
            spans[number] = (len(text), len(text) + len(word))
            text += word + place.after
    return text + template.after, [spans[number] for number in range(len(words))]
