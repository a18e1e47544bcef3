"""What an export takes from the dataset: its samples, one at a time, with their provenance.

Tables are read in parts and pictures by their place in the shards, so memory does not grow with the
number of samples.
"""

import io
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from tasks.exporters.origin import Origin
from tasks.image_provenance import Provenance, stamp_jpeg, stamp_png
from tasks.label_maps import BACKGROUND, ignore_value, label_dtype
from tasks.params import BACKGROUND_NAME, InputError
from tasks.records import FINITE, read_json, slug, stream_rows
from tasks.shards import parse_uri

Row = dict[str, Any]
Split = Literal["train", "val"]
Map = Literal["label", "reliability", "uncertainty"]

REJECTED = "rejected"
"""The split of samples that the filter rejected; never part of another."""
ROWS = 1000
"""Rows of a table that are held at a time."""
JPEG_QUALITY = 95
ADDRESSES = ("image", "attention", "label", "reliability", "uncertainty")
"""Columns of the dataset's index that are shard addresses."""


@dataclass(frozen=True)
class Labels:
    """What the label values mean.

    Attributes:
        names: by label value.
        ignore: the value where nothing is said, 255 or 65535.
    """

    names: list[str]
    ignore: int

    @property
    def has_background(self) -> bool:
        """Whether value 0 is what is no class."""
        return self.names[BACKGROUND] == BACKGROUND_NAME

    @property
    def first_class(self) -> int:
        """The lowest value of a class."""
        return int(self.has_background)


@dataclass(frozen=True)
class Sample:
    """A sample on its way out.

    Attributes:
        name: of its files, without suffix: letters, digits and hyphens.
        split: train, val or rejected.
        row: of the dataset's index, with its ``seed``, see `joined_rows`.
        image: a PNG or JPEG file with its provenance inside.
        suffix: of the image, ``.png`` or ``.jpg``.
        label: a PNG as in the shards, see `tasks.label_maps`.
        maps: reliability and uncertainty as grey PNG, those that are asked for.
    """

    name: str
    split: str
    row: Row
    image: bytes
    suffix: str
    label: bytes
    maps: dict[str, bytes]


@dataclass(frozen=True)
class Source:
    """The part of a dataset that is exported.

    Attributes:
        root: the repository root.
        origin: what the dataset was made with.
        splits: of the kept samples.
        rejected: whether to take rejected samples too.
        maps: beside the label map.
        jpeg: images as JPEG, else as the PNG in the shards.
    """

    root: Path
    origin: Origin
    splits: tuple[Split, ...] = ("train", "val")
    rejected: bool = False
    maps: tuple[Map, ...] = ("reliability",)
    jpeg: bool = False

    @property
    def index(self) -> Path:
        """The dataset's table."""
        return self.root / "data/dataset/index.parquet"

    def labels(self) -> Labels:
        """The classes."""
        names = read_json(self.index.with_name("classes.json"))
        return Labels(names, ignore_value(label_dtype(len(names))))

    def split_of(self, row: Row) -> str | None:
        """The split that a row is exported in; None if it stays behind, as damaged ones do."""
        if row["kept"]:
            return row["split"] if row["split"] in self.splits else None
        return REJECTED if self.rejected and row["rule"] != FINITE else None

    def count(self) -> tuple[Counter[str], Counter[str]]:
        """How many samples are exported: by split, and by the classes that they were made for."""
        splits: Counter[str] = Counter()
        classes: Counter[str] = Counter()
        for row in stream_rows(self.index, ["kept", "rule", "split", "classes"], ROWS):
            split = self.split_of(row)
            if split is not None:
                splits[split] += 1
                classes.update({scores["name"] for scores in row["classes"]})
        return splits, classes

    def damaged(self) -> list[str]:
        """The ids of rejected samples that cannot be exported."""
        rows = stream_rows(self.index, ["sample_id", "rule"], ROWS) if self.rejected else ()
        return [row["sample_id"] for row in rows if row["rule"] == FINITE]

    def samples(self) -> Iterator[Sample]:
        """The samples in the order of the index.

        Raises:
            InputError: a map is missing, a file is damaged, or the tables do not belong together.
        """
        for row in joined_rows(self.root):
            split = self.split_of(row)
            if split is not None:
                yield self._sample(row, split)

    def _sample(self, row: Row, split: str) -> Sample:
        image = self._read(row, "image")
        about = Provenance(
            row["sample_id"],
            row["text"],
            row["seed"],
            self.origin.model,
            self.origin.model_digest,
            self.origin.adapter,
        )
        stamped = stamp_jpeg(as_jpeg(image), about) if self.jpeg else stamp_png(image, about)
        return Sample(
            name=slug(row["sample_id"]),
            split=split,
            row=row,
            image=stamped,
            suffix=".jpg" if self.jpeg else ".png",
            label=self._read(row, "label"),
            maps={kind: self._read(row, kind) for kind in self.maps if kind != "label"},
        )

    def _read(self, row: Row, kind: str) -> bytes:
        if not row[kind]:
            raise InputError(
                f"--masks: sample {row['sample_id']} has no {kind} map; leave {kind} out, or set "
                "extract_masks.response_scalings and run `dvc repro`"
            )
        member = parse_uri(row[kind])
        data = member.below(self.root).read()
        if row.get(f"{kind}_crc32") not in (None, zlib.crc32(data)):
            raise InputError(
                f"{member.path}: the {kind} of sample {row['sample_id']} is damaged, its CRC-32 is "
                "not that of the index; `python -m tasks.lineage check` says more"
            )
        return data

    def write_rows(self, path: Path) -> None:
        """Write all rows of the dataset with their verdicts, and where the exported ones went.

        Beside the columns of `tasks.records.DATASET`, addresses aside: ``seed``; ``exported``, the
        split, null for a row that stayed behind; ``file``, the name of the sample's files.
        """
        schema = parquet.read_schema(self.index)
        kept = [field for field in schema if field.name not in ADDRESSES]
        own = [("seed", pa.int64()), ("exported", pa.string()), ("file", pa.string())]
        written = pa.schema([*kept, *own])
        part: list[Row] = []
        with parquet.ParquetWriter(path, written, compression="zstd") as writer:
            for row in joined_rows(self.root):
                split = self.split_of(row)
                part.append(row | {"exported": split, "file": split and slug(row["sample_id"])})
                if len(part) == ROWS:
                    writer.write_table(pa.Table.from_pylist(part, schema=written))
                    part = []
            writer.write_table(pa.Table.from_pylist(part, schema=written))


def joined_rows(root: Path) -> Iterator[Row]:
    """The rows of the dataset, each with its seed and the CRC-32 of its files.

    That is null or missing where nobody kept it. The tables have the samples in one order.

    Raises:
        InputError: they have not.
    """
    beside = {
        "data/samples": ["sample_id", "seed", "image_crc32"],
        "data/masks": ["sample_id", *(f"{kind}_crc32" for kind in get_args(Map))],
    }
    others = {
        folder: stream_rows(root / folder / "index.parquet", columns, ROWS)
        for folder, columns in beside.items()
    }
    for row in stream_rows(root / "data/dataset/index.parquet", size=ROWS):
        for folder, rows in others.items():
            other = next(rows, None)
            if other is None or other["sample_id"] != row["sample_id"]:
                raise InputError(
                    f"data/dataset: row {row['sample_id']} does not stand in its place in "
                    f"{folder}; the dataset was made from other samples, run filter_masks again"
                )
            row.update(other)
        yield row


def as_jpeg(image: bytes) -> bytes:
    """A picture as JPEG of high quality, colours not subsampled."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(image)) as opened:
        opened.save(buffer, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def write_new(path: Path, data: bytes) -> None:
    """Write a file that must not be there yet.

    Raises:
        InputError: it is: two samples share an id.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise InputError(
            f"data/dataset: two samples have the id {path.stem}; run sample_images again"
        ) from None
