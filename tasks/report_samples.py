"""What the report knows of every sample: its prompt, scores, verdict and lineage.

The tables stay in Arrow; rows become Python objects a part at a time. Imports no torch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from tasks.params import InputError

PART = 5_000
"""Rows of a part."""
SUMS = "sums"
"""Of a row: part, such as image, -> the CRC-32 of its bytes and the SHA-256 of its shard."""
MEMBERS = {"image", "attention", "label", "reliability", "uncertainty"}
"""Columns of the dataset that are shard addresses, where there is one."""
_PLACES = {"shard", "shard_digest"} | {
    f"{part}_{what}" for part in MEMBERS for what in ("offset", "size", "crc32")
}
"""Columns of the samples' table that say the same, or go with the addresses."""
_SUM_COLUMNS = {"shard_digest"} | {f"{part}_crc32" for part in MEMBERS}
_UNSAID = _PLACES - _SUM_COLUMNS
"""Of these, the columns that nothing reads."""
_NO_SCORES = {"value", "bound", "hash"}
"""Numbers that order nothing: a verdict's are scores of different kinds."""

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

    def named(self, rows: Sequence[int]) -> list[list[str]]:
        """The class of each phrase of some rows' prompts: a prompt may name one several times."""
        table, indices = self.others[0]
        prompts = table.select(["classes"]).take(indices.take(pa.array(rows, pa.int64())))
        return [[one["name"] for one in prompt["classes"]] for prompt in prompts.to_pylist()]

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

        Of those that several tables have, the dataset's. A class has what any table says of it;
        of one that the prompt names several times, what it says of the first.
        """
        rows: list[Row] = self.dataset.slice(start, count).to_pylist()
        for table, indices in self.others:
            found = table.take(indices.slice(start, count)).to_pylist()
            for row, other in zip(rows, found, strict=True):
                classes = {one["name"]: one for one in reversed(other.get("classes", ()))}
                row["classes"] = [
                    classes.get(one["name"], {}) | {k: v for k, v in one.items() if v is not None}
                    for one in row["classes"]
                ]
                row |= {name: value for name, value in other.items() if name not in row}
        for row in rows:
            row[SUMS] = {}
        for table, indices in self.sums:
            found = table.take(indices.slice(start, count)).to_pylist()
            for row, other in zip(rows, found, strict=True):
                row[SUMS] |= {
                    part: (other[f"{part}_crc32"], other.get("shard_digest"))
                    for part in MEMBERS
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
    prompted = _beside(dataset, root, prompts, "prompt_id", lambda name: name not in _PLACES)
    sampled = _beside(dataset, root, samples, "sample_id", lambda name: name not in _UNSAID)
    facts, sums = [prompted, sampled], [sampled]
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


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _is_known(column: pa.ChunkedArray) -> bool:
    return bool(column.null_count < len(column))
