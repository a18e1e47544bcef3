"""Captions: sentences of others as prompts, the words for classes found and replaced in them."""

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tasks.english import article, listed, plural, words
from tasks.lexicon import Entry
from tasks.params import InputError
from tasks.templates import Filled, upper_first

AMBIGUOUS = ""
"""Stands for the class of a word that two classes know and neither owns."""

T = TypeVar("T")


class Table(dict[tuple[str, ...], T]):
    """Words of a phrase -> what is known of it; made whole before phrases are looked for."""

    @cached_property
    def longest(self) -> int:
        """Words of its longest phrase."""
        return max(map(len, self), default=0)


@dataclass(frozen=True)
class Known:
    """What a phrase in a caption says.

    Attributes:
        name: the class; None for words that speak of no class, whatever is inside them.
        is_plural: None where singular and plural are the same, as with sheep.
        is_word: False where the class is there, but no word of it can take the phrase's place.
    """

    name: str | None
    is_plural: bool | None
    is_word: bool = True


Phrases = Table[Known]
"""Words of a phrase -> what it says."""
SINGULAR = listed("a an another each her his its my one our that the their this your")
"""Words before a noun like sheep that make it one of them."""
_POSSESSIVE = re.compile(r"['\u2019](?:s\b|(?=\W|$))", re.IGNORECASE)

Claims = Table[set[str]]
"""Words of a phrase -> all classes that know it, whoever has the better claim."""

TABLE = Path(__file__).parent / "lexicons/captions.yaml"
"""Compounds that are no such thing, and words for classes that prompts do not use."""


@dataclass(frozen=True)
class Mention:
    """A phrase for a class in a caption: ``text[start:end]``."""

    name: str
    start: int
    end: int
    is_plural: bool


@dataclass(frozen=True)
class Caption:
    """A sentence, where it comes from, and its mentions from left to right."""

    id: str
    text: str
    mentions: tuple[Mention, ...]

    @property
    def names(self) -> list[str]:
        """The classes that it mentions, each once."""
        return list(dict.fromkeys(mention.name for mention in self.mentions))


def read_captions(path: Path) -> list[tuple[str, str]]:
    """The sentences of a file, each with an id that finds it there again.

    A text file holds a sentence a line (id: the line's number). JSON holds a list of sentences,
    ``{id: sentence}``, ``{id: [sentence, ...]}``, or COCO's ``annotations`` with ``caption``.

    Raises:
        InputError: the file is missing, empty or no text, is JSON of another form or repeats an id.
    """
    where = f"expand_prompts.captions: {path}"
    not_text = "give sentences in UTF-8, one a line, or JSON"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError) as error:
        problem = "is a folder" if isinstance(error, IsADirectoryError) else "no such file"
        raise InputError(f"{where}: {problem}; give a text or JSON file, or none") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: is not text ({error}); {not_text}") from None
    if path.suffix.lower() == ".json":
        try:
            found = list(_from_json(json.loads(text)))
        except (ValueError, RecursionError) as error:
            problem = str(error) if isinstance(error, ValueError) else "is nested too deeply"
            raise InputError(
                f"{where}: {problem}; give a list of sentences, {{id: [sentence, ...]}} or COCO "
                "captions"
            ) from None
    else:
        found = [(str(number), line) for number, line in enumerate(text.splitlines(), start=1)]
    sentences = [(key, sentence) for key, line in found if (sentence := " ".join(line.split()))]
    if not sentences:
        raise InputError(f"{where}: has no sentence in it; {not_text}")
    seen: set[str] = set()
    for key, sentence in sentences:
        if key in seen:
            raise InputError(f"{where}: two sentences have the id {key}; give each its own or none")
        seen.add(key)
        if control := next((one for one in sentence if unicodedata.category(one) == "Cc"), None):
            raise InputError(
                f"{where}: is not text: entry {key} has the control character {control!r}; "
                f"{not_text}"
            )
    return sentences


def _from_json(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and isinstance(value.get("annotations"), list):
        for number, item in enumerate(value["annotations"], start=1):
            if not isinstance(item, dict) or not isinstance(item.get("caption"), str):
                raise ValueError("an annotation has no caption")
            known = item.get("id")
            yield f"annotation {number}" if known is None else str(known), item["caption"]
        return
    if not isinstance(value, dict | list):
        raise ValueError("holds no sentences")
    pairs = value.items() if isinstance(value, dict) else enumerate(value, start=1)
    for key, item in pairs:
        if isinstance(item, str):
            yield str(key), item
        elif isinstance(item, list) and all(isinstance(part, str) for part in item):
            yield from ((f"{key}#{number}", part) for number, part in enumerate(item, start=1))
        else:
            raise ValueError(f"the entry {key!r} is neither a sentence nor a list of sentences")


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return table


@cache
def _compounds() -> Table[None]:
    texts = _table()["compounds"]
    return Table({_key(form): None for text in texts for form in (text, plural(text))})


def _key(text: str) -> tuple[str, ...]:
    return tuple(word for word, _, _ in words(text))


def phrase_table(entries: Sequence[Entry], stop_words: Iterable[str] = ()) -> Phrases:
    """The phrases to look for, in singular and plural.

    A word that another class takes is that class's, or `AMBIGUOUS` where that does not use it.
    Stop words count before words of the classes, then come `TABLE`'s words and its compounds.
    """
    table = Phrases({_key(word): Known(None, False) for word in stop_words})
    for entry in entries:
        for word in entry.words:
            if word.text not in entry.taken:
                _add(table, entry.name, word.text)
    for text in [text for entry in entries for text in entry.taken]:
        for form in (text, plural(text)):
            table.setdefault(_key(form), Known(AMBIGUOUS, False))
    own = set(table)
    for entry in entries:
        for text in _table()["also_said"].get(entry.synset, []):
            _add(table, entry.name, text, own)
        for text in _table()["together"].get(entry.synset, []):
            table.setdefault(_key(text), Known(entry.name, True, False))
    for key in _compounds():
        table.setdefault(key, Known(None, False))
    return table


def _add(table: Phrases, name: str, text: str, own: Collection[tuple[str, ...]] = ()) -> None:
    """Let a text and its plural stand for a class, but for the phrases in ``own``."""
    both = plural(text)
    for form, several in ((text, False), (both, True)):
        key, number = _key(form), None if both == text else several
        if key not in own and table.setdefault(key, Known(name, number)).name not in (None, name):
            table[key] = Known(AMBIGUOUS, number)


def claim_table(entries: Iterable[Entry]) -> Claims:
    """All phrases of all classes, in singular and plural."""
    table = Claims()
    for entry in entries:
        own = [word.text for word in entry.words]
        for word in own + _table()["also_said"].get(entry.synset, []):
            for text in (word, plural(word)):
                table.setdefault(_key(text), set()).add(entry.name)
    return table


def find_claims(text: str, table: Claims) -> set[str]:
    """The classes that know any phrase in a text, longer phrases around it or not.

    Only compounds hide what is inside: they are the same whatever the classes.
    """
    parts = [word for word, _, _ in words(text)]
    longest = max(table.longest, _compounds().longest)
    spans = [
        (at, at + count)
        for at in range(len(parts))
        for count in range(1, min(longest, len(parts) - at) + 1)
    ]
    hidden = [(a, b) for a, b in spans if tuple(parts[a:b]) in _compounds()]
    found: set[str] = set()
    for a, b in spans:
        if not any(c <= a and b <= d and b - a < d - c for c, d in hidden):
            found |= table.get(tuple(parts[a:b]), set())
    return found


def find_mentions(text: str, table: Phrases) -> tuple[Mention, ...]:
    """The phrases of a table in a text: whole words only, the longest first.

    No cat in category. Of two that follow each other the first only tells the second's kind: a
    sheep dog is no sheep. Where a possessive ("a horse's head") or a word such as "family" tells
    of a class that is not mentioned otherwise, nothing can be marked as it: the text has a mention
    of `AMBIGUOUS`, so that no class takes it.
    """
    found: list[Mention] = []
    unmarked: list[Mention] = []
    at = 0
    parts = words(text)
    while at < len(parts):
        for count in range(min(table.longest, len(parts) - at), 0, -1):
            known = table.get(tuple(word for word, _, _ in parts[at : at + count]))
            if known is None:
                continue
            start, end = parts[at][1], parts[at + count - 1][2]
            after = text[end:]
            if known.name is None or (not known.is_word and after.startswith(" of ")):
                pass  # of no class, or a number of something else: a couple of dogs
            elif not known.is_word or _POSSESSIVE.match(after):
                unmarked.append(Mention(known.name, start, end, True))
            else:
                if found and text[found[-1].end : start] == " ":
                    found.pop()
                number = known.is_plural
                if number is None:
                    before = {word for word, _, _ in parts[max(at - 3, 0) : at]}
                    number = not before & SINGULAR
                found.append(Mention(known.name, start, end, number))
            at += count - 1
            break
        at += 1
    marked = {mention.name for mention in found}
    lacking = [replace(one, name=AMBIGUOUS) for one in unmarked if one.name not in marked]
    return tuple(sorted([*found, *lacking], key=lambda mention: mention.start))


def replace_mentions(caption: Caption, word_of: Mapping[str, str]) -> Filled:
    """A caption with each mention replaced by its class's word, in its number, a/an made right."""
    text, spans, at = "", [], 0
    for mention in caption.mentions:
        word = word_of[mention.name]
        text += caption.text[at : mention.start]
        if mention.start == 0 and caption.text[0].isupper():
            word = upper_first(plural(word) if mention.is_plural else word)
        elif mention.is_plural:
            word = plural(word)
        elif match := re.search(r"\b(an?) $", text, re.IGNORECASE):
            shown = f"{article(word)} ".lstrip()
            if match[1][0].isupper():
                shown, word = (upper_first(shown), word) if shown else ("", upper_first(word))
            text = text[: match.start()] + shown
        spans.append((len(text), len(text) + len(word)))
        text += word
        at = mention.end
    return text + caption.text[at:], spans


def append_classes(caption: Caption, texts: Iterable[str]) -> Filled:
    """A caption with class words after it: "A dog sits by a wall; dog, wall"."""
    text, spans = caption.text.rstrip(" .!?;,"), []
    for number, word in enumerate(texts):
        text += ", " if number else "; "
        spans.append((len(text), len(text) + len(word)))
        text += word
    return text, spans
