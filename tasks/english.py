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
    sauce shrubbery sky smoke snow spray terrain thatch tissue undergrowth vegetation velvet water
    wine wool
""")
"""Nouns that take neither a/an nor a plural here; a phrase goes by its last word."""
COUNTED_WHEN_DESCRIBED = listed("sky")
"""Of these, the ones that take a/an behind another word: sky, but a dark sky."""
PLURAL_ONLY = listed("""
    bars binoculars clothes flip-flops glasses goggles headphones jammies jeans knickers levis
    overalls pajamas pants pj's pyjamas scissors shorts sunglasses tights trousers trunks
""")
"""Nouns that are plural already."""
QUANTIFIERS = listed("""
    all both countless eight eighteen eleven few fifteen fifty five forty four fourteen many nine
    nineteen no numerous seven seventeen several six sixteen some ten these thirteen thirty those
    three twelve twenty two various
""")
"""Words after which a noun is plural."""
AMOUNTS = (
    r"an? (?:dozen|few)",
    r"an? (?:bunch|couple|crowd|flock|group|handful|herd|lot|number|pack|pair|pile|row|set) of",
    r"(?:couples|dozens|groups|hundreds|lots|pairs|plenty|rows) of",
    r"(?!1 )\d+",
)
"""Patterns of phrases and figures after which a noun is plural."""

IRREGULAR = {
    "coho": "cohos",
    "contrafagotto": "contrafagotti",
    "gecko": "geckos",
    "knee-hi": "knee-highs",
    "phyllo": "phyllo",
    "pullman": "Pullmans",
}
"""Plurals that the library gets wrong."""

_PREPOSITION = "(?:at|by|in|of|on|to|with)"
_HEAD = re.compile(rf"(?P<head>.+?)(?P<rest> {_PREPOSITION} .+|-{_PREPOSITION}-\S+)")
_SPELLED_OUT_WITH_AN = "AEFHILMNORSX"  # an SUV, an FM radio; but a UFO, a CD
_WORD = re.compile(r"([^\W_]+(?:(?!['\u2019]s(?![\w-]))['\u2019-][^\W_]+)*)(?:['\u2019]s)?", re.I)
_ARTICLES = frozenset({"a", "an", "the"})


@cache
def article(phrase: str) -> str:
    """The determiner that a single thing takes: "a", "an", or "" for none.

    By sound, not by letter: an hour, a unicorn, a one-way street, an X-ray, an SUV.
    """
    last = phrase.rsplit(" ", 1)[-1].lower()
    described = " " in phrase and last in COUNTED_WHEN_DESCRIBED
    if (last in UNCOUNTABLE and not described) or last in PLURAL_ONLY:
        return ""
    first = re.split(r"[\s-]", phrase, maxsplit=1)[0]
    if re.fullmatch(r"[A-Z]{2,4}", first):
        return "an" if first[0] in _SPELLED_OUT_WITH_AN else "a"
    if re.match(r"8|11(?!\d)|18(?!\d)", first):
        return "an"
    return str(_ENGINE.a(phrase)).split(" ", 1)[0]


@cache
def plural(phrase: str) -> str:
    """Several of it: two cars, sheep, people, buses; uncountable and plural phrases stay.

    The last word is made plural, or the one before a preposition: chests of drawers.
    """
    if match := _HEAD.fullmatch(phrase):
        return plural(match["head"]) + match["rest"]
    before, space, last = phrase.rpartition(" ")
    if last.lower() in UNCOUNTABLE | PLURAL_ONLY:
        return phrase
    if last.lower() in IRREGULAR:
        several = IRREGULAR[last.lower()]
    elif re.search(r"\b[A-Z0-9]{2,}$", last):
        several = f"{last}s"
    else:
        several = str(_ENGINE.plural_noun(last))
    return before + space + several


def with_article(phrase: str) -> str:
    """The phrase as a single thing: "a car", "an oak", "grass"."""
    return f"{article(phrase)} {phrase}".strip()


def words(text: str) -> list[tuple[str, int, int]]:
    """The words of a text in lower case, each with its first and last-plus-one character.

    Without a possessive's ending: the word in "a cat's tail" is "cat".
    """
    return [(match[1].lower(), match.start(1), match.end(1)) for match in _WORD.finditer(text)]


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
