"""The built-in lexicon: a curated table, ``lexicons/builtin.yaml``."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tasks.lexicon import Sense, Word
from tasks.params import Relation

TABLE = Path(__file__).parent / "lexicons/builtin.yaml"


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return table


class BuiltinLexicon:
    """Words of storybook's, VOC's and Cityscapes' classes, by the names they have there."""

    @property
    def title(self) -> str:
        """How messages call it."""
        return "the built-in lexicon"

    def senses(self, name: str) -> list[Sense]:
        """The one sense that the table has of a class name."""
        row = _table().get(name)
        return [self._sense(name, row)] if row else []

    def sense(self, synset: str) -> Sense | None:
        """The sense of a class of the table by its synset."""
        found = (self._sense(name, row) for name, row in _table().items() if row["sense"] == synset)
        return next(found, None)

    def words(
        self, synset: str, name: str, depth: int, stop: frozenset[str] = frozenset()
    ) -> list[Word]:
        """The words of a class, in the table's order; by its synset where the name is unknown.

        The table says what a class is plainly called, so there is nothing to choose by ``stop``.
        """
        rows = [row for key, row in _table().items() if row["sense"] == synset]
        row = _table()[name] if name in _table() and _table()[name] in rows else rows[0]
        words = []
        relations: tuple[tuple[Relation, str], ...] = (
            ("plain", "phrases"),
            ("synonym", "synonyms"),
        )
        for relation, key in relations:
            for item in row.get(key, []):
                text, own = (item, synset) if isinstance(item, str) else next(iter(item.items()))
                words.append(Word(text, relation, 0, own))
        for level, kinds in row.get("hyponyms", {}).items():
            if level <= depth:
                words += [Word(text, "hyponym", level, own) for text, own in kinds.items()]
        return words

    def kinds(self, synset: str) -> frozenset[str]:
        """The synsets of a class's hyponyms, and of those that are classes of the table, theirs."""
        found: set[str] = set()
        todo = [synset]
        while todo:
            current = todo.pop()
            for row in _table().values():
                if row["sense"] == current:
                    below = {
                        own for kinds in row.get("hyponyms", {}).values() for own in kinds.values()
                    }
                    todo += below - found
                    found |= below
        return frozenset(found)

    @staticmethod
    def _sense(name: str, row: dict[str, Any]) -> Sense:
        return Sense(row["sense"], f"{name}: {', '.join(map(str, row['phrases']))}")
