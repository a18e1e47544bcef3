"""Tar shards in the WebDataset convention, and where each member's bytes lie in them.

A sample's files share its id as their stem: ``<sample_id>.png``,
``<sample_id>.attention.safetensors``. Shards are byte-equal when they are made again: no time, no
owner, members in the order given. They are written as `tasks.durable` says, so
a shard that exists is whole. ``python -m tasks.shards prune`` removes what no run uses any more.
"""

import io
import os
import re
import runpy
import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.compute as pc

from tasks.durable import new_file

URI_PREFIX = "shard://"
_URI = re.compile(rf"{URI_PREFIX}([^?#]+)\?offset=(\d+)&size=(\d+)")


@dataclass(frozen=True)
class Member:
    """Where a file lies: ``size`` bytes from ``offset`` of the shard ``path``.

    ``crc32`` is the CRC-32 of its bytes, where they were at hand; it is no part of the address.
    """

    path: str
    offset: int
    size: int
    crc32: int | None = field(default=None, compare=False)

    @property
    def uri(self) -> str:
        """The member as a string for MMEngine's file backend, see `parse_uri`."""
        return f"{URI_PREFIX}{quote(self.path)}?offset={self.offset}&size={self.size}"

    def below(self, root: Path) -> "Member":
        """The same, with a path that starts from ``root``."""
        return replace(self, path=str(root / self.path))

    def columns(self, kind: str) -> dict[str, int | None]:
        """What an index says of it: ``<kind>_offset``, ``<kind>_size``, ``<kind>_crc32``."""
        return {
            f"{kind}_offset": self.offset,
            f"{kind}_size": self.size,
            f"{kind}_crc32": self.crc32,
        }

    def read(self) -> bytes:
        """The member's bytes.

        Raises:
            FileNotFoundError: the shard is missing.
            EOFError: the shard is shorter than the index says.
        """
        file = os.open(self.path, os.O_RDONLY)
        try:
            data = os.pread(file, self.size, self.offset)
        finally:
            os.close(file)
        if len(data) != self.size:
            raise EOFError(
                f"{self.path}: ends before byte {self.offset + self.size}; the index does not "
                "belong to this shard, run the stage that wrote it again"
            )
        return data


def parse_uri(uri: str) -> Member:
    """The inverse of `Member.uri`.

    Raises:
        ValueError: ``uri`` is no shard address.
    """
    parts = _URI.fullmatch(uri)
    if not parts:
        raise ValueError(f"not a shard address: {uri!r}; expected {URI_PREFIX}PATH?offset=N&size=N")
    return Member(unquote(parts[1]), int(parts[2]), int(parts[3]))


def addresses(index: pa.Table, part: str) -> pa.ChunkedArray:
    """A column of `Member.uri`, null where a row has none.

    Args:
        index: with the columns ``shard``, ``<part>_offset`` and ``<part>_size``.
        part: of a sample, such as image.
    """
    shards = index["shard"].combine_chunks().dictionary_encode()
    paths = pa.array([URI_PREFIX + quote(path) for path in shards.dictionary.to_pylist()])
    offset, size = (index[f"{part}_{name}"].cast(pa.string()) for name in ("offset", "size"))
    parts = (paths.take(shards.indices), "?offset=", offset, "&size=", size, "")
    return pc.binary_join_element_wise(*parts)


def write_shard(path: Path, members: Iterable[tuple[str, bytes]]) -> list[Member]:
    """Write ``(name, data)`` pairs as one tar file.

    Returns:
        One `Member` per pair, in order, with ``path`` as it was given.
    """
    with new_file(path) as file:
        shard = ShardWriter(file, str(path))
        written = [shard.add(name, data) for name, data in members]
        shard.close()
    return written


class ShardWriter:
    """A shard in the making.

    Args:
        file: where to, opened for writing.
        path: what its members say of where they lie.
    """

    def __init__(self, file: BinaryIO, path: str = "") -> None:
        self._path = path
        self._tar = tarfile.TarFile(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)

    def add(self, name: str, data: bytes) -> Member:
        """Write a member."""
        header = tarfile.TarInfo(name)
        header.size = len(data)
        self._tar.addfile(header, io.BytesIO(data))
        padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        return Member(self._path, self._tar.offset - padded, len(data), zlib.crc32(data))

    def close(self) -> None:
        """Write the tar's end."""
        self._tar.close()


if __name__ == "__main__":
    # By its name: who reads a shard does not depend on the tool that removes old ones.
    runpy.run_module("tasks.pruning", run_name="__main__")
