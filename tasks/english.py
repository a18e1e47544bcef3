"""The little grammar that prompts need: articles, plurals, and when two texts say the same."""

import re
from functools import cache

import inflect

_ENGINE = inflect.engine()


def listed(text: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(text.split())


UNCOUNTABLE = listed("""
    brass broccoli carbonara chocolate consomme corn cream denim dough eggnog espresso fencing flora
    foliage grass gravel greenery guacamole hay ice lotion paper pavement powder rapeseed rice sand
    sauce shrubbery smoke snow spray terrain thatch tissue undergrowth vegetation velvet water wine
    wool
""")
"""Nouns that take neither a/an nor a plural here; a phrase goes by its last word."""
PLURAL_ONLY = listed("""
    bars binoculars clothes flip-flops glasses goggles headphones jammies jeans knickers levis
    overalls pajamas pants pj's pyjamas scissors shorts sunglasses tights trousers trunks
""")
"""Nouns that are plural already."""
QUANTIFIERS = listed(
    "both eight few five four many nine seven several six some ten three two various"
)
"""Words after which a noun is plural."""
UNIQUE = frozenset({"sky", "blue sky"})
"""Things that there is one of: "the sky"."""

_SPELLED_OUT_WITH_AN = "AEFHILMNORSX"  # an SUV, an FM radio; but a UFO, a CD
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_ARTICLES = frozenset({"a", "an", "the"})


@cache
def article(phrase: str) -> str:
    """The determiner that a single thing takes: "a", "an", "the", or "" for none.

    By sound, not by letter: an hour, a unicorn, a one-way street, an X-ray, an SUV.
    """
    last = phrase.rsplit(" ", 1)[-1].lower()
    if phrase.lower() in UNIQUE:
        return "the"
    if last in UNCOUNTABLE or last in PLURAL_ONLY:
        return ""
    first = re.split(r"[\s-]", phrase, maxsplit=1)[0]
    if re.fullmatch(r"[A-Z]{2,4}", first):
        return "an" if first[0] in _SPELLED_OUT_WITH_AN else "a"
    if re.match(r"8|11(?!\d)|18(?!\d)", first):
        return "an"
    return str(_ENGINE.a(phrase)).split(" ", 1)[0]


@cache
def plural(phrase: str) -> str:
    """Several of it: two cars, sheep, people, buses; uncountable and plural phrases stay."""
    last = phrase.rsplit(" ", 1)[-1].lower()
    if last in UNCOUNTABLE or last in PLURAL_ONLY or phrase.lower() in UNIQUE:
        return phrase
    if re.search(r"\b[A-Z0-9]{2,}$", phrase):
        return f"{phrase}s"
    return str(_ENGINE.plural_noun(phrase))


def with_article(phrase: str) -> str:
    """The phrase as a single thing: "a car", "an oak", "grass", "the sky"."""
    return f"{article(phrase)} {phrase}".strip()


def words(text: str) -> list[tuple[str, int, int]]:
    """The words of a text in lower case, each with its first and last-plus-one character."""
    return [(match[0].lower(), match.start(), match.end()) for match in _WORD.finditer(text)]


@cache
def _stem(word: str) -> str:
    singular = _ENGINE.singular_noun(word)
    return str(singular) if singular else word


def normalise(text: str) -> str:
    """What is left of a text without case, articles, punctuation and plurals.

    Two texts of the same normal form are near duplicates.
    """
    flat = (part for word, _, _ in words(text) for part in word.split("-"))
    return " ".join(_stem(word) for word in flat if word not in _ARTICLES)
