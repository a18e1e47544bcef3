"""The report's table: every sample with its prompt, scores, verdict and lineage, in parts.

A part is two scripts (`tasks.report_script`): ``data/table-0000.js`` holds what is filtered, sorted
and listed; ``data/lineage-0000.js`` what one sample's page says besides, and is loaded for it. The
tables stay in Arrow; rows become Python objects a part at a time. Imports no torch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from tasks.params import RELATIONS, InputError
from tasks.report_script import pack, write_script
from tasks.shards import parse_uri

PART = 5_000
"""Rows of a part."""
SPLITS = ("", "train", "val")
"""By code; rejected samples have none."""

_LISTED = {"sample_id", "text", "classes", "kept", "reason", "rule", "split"}
"""Columns that the parts of the table hold; the other ones tell the lineage."""
_SUMS = "sums"
"""Of a row: part, such as image, -> the CRC-32 of its bytes and the SHA-256 of its shard."""
_MEMBERS = {"image", "attention", "label", "reliability", "uncertainty"}
"""Columns of the dataset that are shard addresses, where there is one."""
_PLACES = {"shard", "shard_digest"} | {
    f"{part}_{what}" for part in _MEMBERS for what in ("offset", "size", "crc32")
}
"""Columns of the samples' table that say the same, or go with the addresses."""
_SUM_COLUMNS = {"shard_digest"} | {f"{part}_crc32" for part in _MEMBERS}
_UNSAID = _PLACES - _SUM_COLUMNS
_NO_SCORES = {"value", "bound", "hash"}
"""Numbers that order nothing: a verdict's are scores of different kinds."""
_IN_THE_REASON = {"value", "bound", "finite"}
"""Columns that the verdict's reason tells."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Samples:
    """The tables of a run, row by row about the same samples.

    Attributes:
        dataset: ``data/dataset/index.parquet``, which the others follow.
        others: the prompts, the samples and, where there are any, the scores, each with the rows
            of it that belong to the dataset's: ``(table, indices)``.
        sums: the same of the samples and, where there are any, the masks: the CRC-32 of each file
            and the SHA-256 of its shard.
    """

    dataset: pa.Table
    others: tuple[tuple[pa.Table, pa.Array], ...]
    sums: tuple[tuple[pa.Table, pa.Array], ...] = ()

    def __len__(self) -> int:
        return int(self.dataset.num_rows)

    def column(self, name: str) -> list[Any]:
        """A whole column of the dataset."""
        return list(self.dataset.column(name).to_pylist())

    @property
    def prompts(self) -> int:
        """Prompts that were made, sampled or not."""
        return int(self.others[0][0].num_rows)

    @property
    def scores_table(self) -> pa.Table | None:
        """``data/scores/index.parquet``; None where there is none."""
        return self.others[2][0] if len(self.others) > 2 else None

    @property
    def entries(self) -> int:
        """Classes of all samples together."""
        return pc.sum(pc.list_value_length(self.dataset.column("classes"))).as_py() or 0

    def first_classes(self) -> list[str]:
        """The class that each sample belongs to."""
        first = pc.list_element(self.dataset.column("classes"), 0)
        return list(pc.struct_field(first, "name").to_pylist())

    def rules(self) -> list[str]:
        """The rules that samples broke, in the order of their names; the first one is none."""
        return sorted({"", *self.column("rule")})

    def scores(self) -> tuple[list[str], list[str]]:
        """The numbers that judge a sample: names of those by class, and of those by image.

        What no sample has, such as a similarity that was not asked for, is left out.
        """
        by_class: dict[str, None] = {}
        by_image: dict[str, None] = {}
        for table in (self.dataset, *(other for other, _ in self.others[2:])):
            for field in table.schema:
                if field.name == "classes":
                    flat = pc.list_flatten(table["classes"])
                    inside = [one.name for one in field.type.value_type if _is_number(one.type)]
                    known = [name for name in inside if _is_known(pc.struct_field(flat, name))]
                    by_class |= dict.fromkeys(known)
                elif _is_number(field.type) and field.name not in _NO_SCORES:
                    by_image |= dict.fromkeys([field.name] if _is_known(table[field.name]) else [])
        return list(by_class), list(by_image)

    def part(self, start: int, count: int) -> list[Row]:
        """Rows, each with its prompt's, sample's and scores' columns.

        Of those that several tables have, the dataset's. A class has what any table says of it.
        """
        rows: list[Row] = self.dataset.slice(start, count).to_pylist()
        for table, indices in self.others:
            found = table.take(indices.slice(start, count)).to_pylist()
            for row, other in zip(rows, found, strict=True):
                classes = {one["name"]: one for one in other.get("classes", ())}
                row["classes"] = [
                    classes.get(one["name"], {}) | {k: v for k, v in one.items() if v is not None}
                    for one in row["classes"]
                ]
                row |= {name: value for name, value in other.items() if name not in row}
        for row in rows:
            row[_SUMS] = {}
        for table, indices in self.sums:
            found = table.take(indices.slice(start, count)).to_pylist()
            for row, other in zip(rows, found, strict=True):
                row[_SUMS] |= {
                    part: (other[f"{part}_crc32"], other.get("shard_digest"))
                    for part in _MEMBERS
                    if f"{part}_crc32" in other
                }
        return rows

    def parts(self) -> Iterator[tuple[int, list[Row]]]:
        """Each part's first row number and its rows."""
        for start in range(0, len(self), PART):
            yield start, self.part(start, PART)


def read_samples(root: Path = Path()) -> Samples:
    """The tables under ``root``.

    Raises:
        InputError: a sample is missing in one of them.
    """
    dataset = parquet.read_table(root / "data/dataset/index.parquet")
    prompts, samples, scores, masks = (
        f"data/{name}.parquet"
        for name in ("prompts", "samples/index", "scores/index", "masks/index")
    )
    facts = [
        _beside(dataset, root, prompts, "prompt_id", lambda name: name not in _PLACES),
        _beside(dataset, root, samples, "sample_id", lambda name: name not in _UNSAID),
    ]
    sums = [facts[1]]
    if (root / scores).is_file():
        facts.append(_beside(dataset, root, scores, "sample_id", lambda name: name not in _PLACES))
    if (root / masks).is_file():
        summed = {"sample_id", *_SUM_COLUMNS}
        sums.append(_beside(dataset, root, masks, "sample_id", lambda name: name in summed))
    return Samples(
        dataset,
        tuple((table.drop_columns(_named(table, _SUM_COLUMNS)), rows) for table, rows in facts),
        tuple((table.select(_named(table, _SUM_COLUMNS)), rows) for table, rows in sums),
    )


def _named(table: pa.Table, names: set[str]) -> list[str]:
    return [name for name in table.column_names if name in names]


def _beside(
    dataset: pa.Table, root: Path, path: str, key: str, wanted: Callable[[str], bool]
) -> tuple[pa.Table, pa.Array]:
    """The wanted columns of another table, and the rows of it that are the dataset's."""
    columns = [name for name in parquet.read_schema(root / path).names if wanted(name)]
    table = parquet.read_table(root / path, columns=columns, read_dictionary=["shard_digest"])
    keys = dataset.column(key)
    indices = pc.index_in(keys, value_set=table.column(key)).combine_chunks()
    if indices.null_count:
        lost = keys.filter(pc.is_null(indices))[0].as_py()
        raise InputError(
            f"data/dataset/index.parquet: {key} {lost} is not in {path}; the two come from "
            "different runs, run `dvc repro`"
        )
    return table, indices


def write_parts(
    samples: Samples, names: Sequence[str], pictures: dict[int, int], folder: Path
) -> None:
    """Write both scripts of every part.

    Args:
        samples: see `read_samples`.
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
        if name in _LISTED or name in told or name == _SUMS:
            continue
        if name in _MEMBERS:
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
    crc32, digest = row[_SUMS].get(part, (None, None))
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


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _is_known(column: pa.ChunkedArray) -> bool:
    return bool(column.null_count < len(column))
