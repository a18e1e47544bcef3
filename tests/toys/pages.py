"""What stands in a page of Markdown: its blocks, and its commands as someone would run them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("python -m ", "make ", "dvc ", "prefect ", "torchrun ", "hf ")
NEEDS = re.compile(r"needs (a|several|the) (GPUs?|cluster|server|network)\b")


class Command(NamedTuple):
    """A line of a page that someone may run; ``needs`` is whether it says what it needs."""

    text: str
    needs: bool


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Kind ("" for commands, "yaml", ...) and text of the fenced and indented blocks."""
    for kind, text in re.findall(r"^```(\w*)\n(.*?)^```$", page, re.M | re.S):
        yield kind, text
    for text in re.findall(r"(?:^ {4}.*\n)+", without_fences(page), re.M):
        yield "", re.sub(r"^ {4}", "", text, flags=re.M)


def without_fences(page: str) -> str:
    return re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S)


def spans(page: str) -> Iterator[tuple[str, str]]:
    """What stands in backquotes in the text, on one line, and what follows it."""
    prose = re.sub(r"^ {4}.*\n", "", without_fences(page), flags=re.M)
    for span in re.finditer(r"`([^`]+)`", prose):
        yield " ".join(span[1].split()), prose[span.end() : span.end() + 30]


def commands(page: str) -> Iterator[Command]:
    """The commands of a page, with continued lines joined."""
    for kind, text in blocks(page):
        for line in text.replace("\\\n", " ").splitlines() if not kind else ():
            yield Command(line, bool(NEEDS.search(line)))
    for span, after in spans(page):
        if span.startswith(PROGRAMS):
            yield Command(span, bool(NEEDS.match(after.lstrip(" (\n"))))


def parts(line: str) -> list[list[str]]:
    """The words of each command of a line, its comment left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|&;"):
            found.append([])
        else:
            found[-1].append(word)
    return found


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
