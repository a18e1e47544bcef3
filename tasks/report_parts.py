"""The report's table of samples, in parts that the page loads as it needs them.

A part is two scripts (`tasks.report_script`): ``data/table-0000.js`` holds what is filtered, sorted
and listed; ``data/lineage-0000.js`` what one sample's page says besides, and is loaded for it.
Imports no torch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.params import RELATIONS
from tasks.report_samples import MEMBERS, SUMS, Row, Samples
from tasks.report_script import pack, write_script
from tasks.shards import parse_uri

SPLITS = ("", "train", "val")
"""By code; rejected samples have none."""

_LISTED = {"sample_id", "text", "classes", "kept", "reason", "rule", "split"}
"""Columns that the table holds; the other ones tell the lineage."""
_IN_THE_REASON = {"value", "bound", "finite"}
"""Columns that the verdict's reason tells."""


def write_parts(
    samples: Samples, names: Sequence[str], pictures: dict[int, int], folder: Path
) -> None:
    """Write both scripts of every part.

    Args:
        samples: see `tasks.report_samples.read_samples`.
        names: of the classes, by code.
        pictures: row number -> number of the sample's pictures, from 0.
        folder: ``report/data``.
    """
    rules = samples.rules()
    entry = 0
    for number, (start, rows) in enumerate(samples.parts()):
        listed = _table(rows, names, rules, samples.scores())
        listed |= {
            "start": start,
            "entry": entry,
            "picture": pack([pictures.get(start + at, -1) + 1 for at in range(len(rows))], "u4"),
        }
        entry += sum(len(row["classes"]) for row in rows)
        write_script(folder / f"table-{number:04d}.js", "table", number, listed)
        lineage = _lineage(rows, told={*samples.scores()[1], *_IN_THE_REASON})
        write_script(folder / f"lineage-{number:04d}.js", "lineage", number, lineage)


def utf16_offset(text: str, at: int) -> int:
    """A place in a text as JavaScript counts, which takes a sign beyond the BMP for two."""
    return at if text.isascii() else len(text[:at].encode("utf-16-le")) // 2


def _table(
    rows: list[Row], names: Sequence[str], rules: list[str], scores: tuple[list[str], list[str]]
) -> Row:
    by_class, by_image = scores
    texts = {text: code for code, text in enumerate(dict.fromkeys(row["text"] for row in rows))}
    entries = [one for row in rows for one in row["classes"]]
    code_of = {name: code for code, name in enumerate(names)}
    places = [
        (utf16_offset(row["text"], one["start"]), utf16_offset(row["text"], one["end"]))
        for row in rows
        for one in row["classes"]
    ]
    packed = {name: _numbers(one.get(name) for one in entries) for name in by_class}
    packed |= {f"image.{name}": _numbers(row.get(name) for row in rows) for name in by_image}
    return {
        "ids": [row["sample_id"] for row in rows],
        "texts": list(texts),
        "text": pack([texts[row["text"]] for row in rows], "u4"),
        "kept": pack([row["kept"] for row in rows], "u1"),
        "split": pack([SPLITS.index(row["split"]) for row in rows], "u1"),
        "rule": pack([rules.index(row["rule"]) for row in rows], "u2"),
        "reasons": {at: row["reason"] for at, row in enumerate(rows) if row["reason"]},
        "counts": pack([len(row["classes"]) for row in rows], "u2"),
        "class": pack([code_of[one["name"]] for one in entries], "u2"),
        "relation": pack([RELATIONS.index(one["relation"]) for one in entries], "u1"),
        "begin": pack([begin for begin, _ in places], "u4"),
        "end": pack([end for _, end in places], "u4"),
        "scores": packed,
    }


def _lineage(rows: list[Row], told: set[str]) -> Row:
    """The columns that are not listed or ``told``.

    A shard address is the shard's number, offset, size and CRC-32; shards have paths and digests.
    """
    shards: dict[str, int] = {}
    digests: dict[str, str | None] = {}
    columns, addresses = {}, {}
    for name in rows[0]:
        if name in _LISTED or name in told or name == SUMS:
            continue
        if name in MEMBERS:
            addresses[name] = [_address(row, name, shards, digests) for row in rows]
        else:
            columns[name] = [_plain(row[name]) for row in rows]
    words = [[[one["synset"], one["depth"]] for one in row["classes"]] for row in rows]
    return {
        "columns": columns,
        "shards": list(shards),
        "digests": [digests[shard] for shard in shards],
        "addresses": addresses,
        "words": words,
    }


def _address(
    row: Row, part: str, shards: dict[str, int], digests: dict[str, str | None]
) -> list[int | None] | None:
    """Where a part lies; its shard joins ``shards`` and ``digests``, which go in one order."""
    if not row[part]:
        return None
    member = parse_uri(row[part])
    crc32, digest = row[SUMS].get(part, (None, None))
    number = shards.setdefault(member.path, len(shards))
    digests[member.path] = digests.get(member.path) or digest
    return [number, member.offset, member.size, crc32]


def _plain(value: Any) -> Any:
    """A cell as JSON: whole numbers as text, as JavaScript rounds large ones; no NaN."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else str(value)
    return str(value)


def _numbers(values: Any) -> str:
    return pack([np.nan if value is None else value for value in values], "f4")
