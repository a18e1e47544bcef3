"""Captions: sentences of others as prompts, the words for classes found and replaced in them."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.english import article, listed, plural, words
from tasks.lexicon import Entry
from tasks.params import InputError
from tasks.templates import Filled, upper_first

AMBIGUOUS = ""
"""Stands for the class of a word that two classes know and neither owns."""

Phrases = dict[tuple[str, ...], tuple[str | None, bool | None]]
"""Words of a phrase -> its class (None: no class, a stop word) and whether it is a plural (None:
singular and plural are the same, as with sheep)."""
SINGULAR = listed("a an another each her his its my one our that the their this your")
"""Words before a noun like sheep that make it one of them."""

Claims = dict[tuple[str, ...], set[str]]
"""Words of a phrase -> all classes that know it, whoever has the better claim."""


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
        InputError: the file is missing, is no text, or is JSON of another form.
    """
    where = f"expand_prompts.captions: {path}"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{where}: no such file; give a text or JSON file, or none") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{where}: is not text ({error}); give sentences in UTF-8, one a line, or JSON"
        ) from None
    if "\0" in text:
        raise InputError(f"{where}: is not text; give sentences in UTF-8, one a line, or JSON")
    if path.suffix == ".json":
        try:
            found = list(_from_json(json.loads(text)))
        except ValueError as error:
            raise InputError(
                f"{where}: {error}; give a list of sentences, {{id: [sentence, ...]}} or COCO "
                "captions"
            ) from None
    else:
        found = [(str(number), line) for number, line in enumerate(text.splitlines(), start=1)]
    clean = [(key, " ".join(sentence.split())) for key, sentence in found]
    return [(key, sentence) for key, sentence in clean if sentence]


def _from_json(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and isinstance(value.get("annotations"), list):
        for number, item in enumerate(value["annotations"], start=1):
            if not isinstance(item, dict) or not isinstance(item.get("caption"), str):
                raise ValueError("an annotation has no caption")
            yield str(item.get("id", f"annotation {number}")), item["caption"]
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


def phrase_table(entries: Iterable[Entry], stop_words: Iterable[str] = ()) -> Phrases:
    """The phrases to look for, in singular and plural, words that another class takes left out."""
    table: Phrases = {tuple(w for w, _, _ in words(word)): (None, False) for word in stop_words}
    for entry in entries:
        for word in entry.words:
            if word.text in entry.taken:
                continue
            both = plural(word.text)
            for text, several in ((word.text, False), (both, True)):
                key = tuple(part for part, _, _ in words(text))
                number = None if both == word.text else several
                known = table.setdefault(key, (entry.name, number))
                if known[0] not in (None, entry.name):
                    table[key] = (AMBIGUOUS, number)
    return table


def claim_table(entries: Iterable[Entry]) -> Claims:
    """All phrases of all classes, in singular and plural."""
    table: Claims = {}
    for entry in entries:
        for word in entry.words:
            for text in (word.text, plural(word.text)):
                table.setdefault(tuple(part for part, _, _ in words(text)), set()).add(entry.name)
    return table


def find_claims(text: str, table: Claims) -> set[str]:
    """The classes that know any phrase in a text, longer phrases around it or not."""
    parts = [word for word, _, _ in words(text)]
    longest = max(map(len, table), default=0)
    found: set[str] = set()
    for at in range(len(parts)):
        for count in range(1, min(longest, len(parts) - at) + 1):
            found |= table.get(tuple(parts[at : at + count]), set())
    return found


def find_mentions(text: str, table: Phrases) -> tuple[Mention, ...]:
    """The phrases of a table in a text: whole words only, the longest first.

    No cat in category. Of two that follow each other the first only tells the second's kind: a
    sheep dog is no sheep.
    """
    found: list[Mention] = []
    at = 0
    parts = words(text)
    longest = max(map(len, table), default=0)
    while at < len(parts):
        for count in range(min(longest, len(parts) - at), 0, -1):
            hit = table.get(tuple(word for word, _, _ in parts[at : at + count]))
            if hit is None:
                continue
            name, number = hit
            start, end = parts[at][1], parts[at + count - 1][2]
            if name is not None:
                if found and text[found[-1].end : start] == " ":
                    found.pop()
                if number is None:
                    before = {word for word, _, _ in parts[max(at - 3, 0) : at]}
                    number = not before & SINGULAR
                found.append(Mention(name, start, end, number))
            at += count - 1
            break
        at += 1
    return tuple(found)


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
