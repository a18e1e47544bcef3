"""Tar shards in the WebDataset convention, and where each member's bytes lie in them.

A sample's files share its id as their stem: ``<sample_id>.png``,
``<sample_id>.attention.safetensors``. Shards are byte-equal when they are made again: no time, no
owner, members in the order given. They are written under a temporary name, flushed and renamed, so
a shard that exists is whole.
"""

import io
import os
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

URI_PREFIX = "shard://"
_URI = re.compile(rf"{URI_PREFIX}([^?#]+)\?offset=(\d+)&size=(\d+)")


@dataclass(frozen=True)
class Member:
    """Where a file lies: ``size`` bytes from ``offset`` of the shard ``path``."""

    path: str
    offset: int
    size: int

    @property
    def uri(self) -> str:
        """The member as a string for MMEngine's file backend, see `parse_uri`."""
        return f"{URI_PREFIX}{quote(self.path)}?offset={self.offset}&size={self.size}"

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


def write_shard(path: Path, members: Iterable[tuple[str, bytes]]) -> list[Member]:
    """Write ``(name, data)`` pairs as one tar file.

    Returns:
        One `Member` per pair, in order, with ``path`` as it was given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with open(partial, "wb") as file:
        shard = ShardWriter(file)
        written = [Member(str(path), *shard.add(name, data)) for name, data in members]
        shard.close()
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return written


class ShardWriter:
    """A shard in the making.

    Args:
        file: where to, opened for writing.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._tar = tarfile.TarFile(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)

    def add(self, name: str, data: bytes) -> tuple[int, int]:
        """Write a member; returns where its bytes lie, offset and size."""
        header = tarfile.TarInfo(name)
        header.size = len(data)
        self._tar.addfile(header, io.BytesIO(data))
        padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        return self._tar.offset - padded, len(data)

    def close(self) -> None:
        """Write the tar's end."""
        self._tar.close()
