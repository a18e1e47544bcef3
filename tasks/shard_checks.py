"""Whether a shard is byte for byte what its index says: tar headers, members, padding, the end.

Every byte of the file is looked at, so that none can flip unseen. Imports no torch.
"""

import hashlib
import mmap
import tarfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_BLOCK = tarfile.BLOCKSIZE
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        path: of the file.
        sample_id: of the sample whose bytes they are; None where they are of no single one.
        fault: what is wrong.
    """

    path: str
    sample_id: str | None
    fault: str


@dataclass(frozen=True)
class Expected:
    """A member as an index row names it; ``crc32`` is None in indexes of earlier versions."""

    sample_id: str
    part: str
    offset: int
    size: int
    crc32: int | None

    @property
    def name(self) -> str:
        """Its name in the tar file."""
        names = {"image": "png", "attention": "attention.safetensors"}
        return f"{self.sample_id}.{names.get(self.part, f'{self.part}.png')}"


def check_shard(
    file: Path, path: str, members: Sequence[Expected], digests: Collection[str] = ()
) -> tuple[list[Finding], str | None]:
    """Compare a shard with its rows.

    Args:
        file: the shard.
        path: as the index names it.
        members: all that the index names in it.
        digests: what its rows call the shard's SHA-256; none in indexes of earlier versions.

    Returns:
        What is wrong, and the file's MD5, None where there is no file.
    """
    if not file.is_file():
        ids = len({one.sample_id for one in members})
        return [Finding(path, None, f"is missing; {ids} samples of the index lie in it")], None
    if not file.stat().st_size:
        return [Finding(path, None, "is empty")], hashlib.md5(usedforsecurity=False).hexdigest()
    with (
        open(file, "rb") as handle,
        mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as data,
    ):
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
        found = [Finding(path, *fault) for fault in _faults(data, members)]
        if digests and not found:
            sha256 = hashlib.sha256(data).hexdigest()
            wrong = [digest for digest in digests if digest != sha256]
            found = [Finding(path, None, _other_digest(sha256, digest)) for digest in wrong]
    return found, digest


def _faults(data: memoryview, members: Sequence[Expected]) -> Iterator[tuple[str | None, str]]:
    """The sample, if it is one's, and the fault, in the order of the file."""
    at, before = 0, None
    for one in sorted(members, key=lambda member: member.offset):
        header = one.offset - _BLOCK
        if header < at:
            yield one.sample_id, f"{one.part}: the index puts it at byte {one.offset}, in another's"
            continue
        if header > at:
            yield before, f"bytes {at} to {header}: the index names no member there"
        end = one.offset + one.size
        if end > len(data):
            yield one.sample_id, f"{one.part}: the file ends at byte {len(data)}, before byte {end}"
            return
        fault = _header_fault(bytes(data[header : one.offset]), one)
        if fault:
            yield (
                one.sample_id,
                f"{one.part}: its tar header, bytes {header} to {one.offset}, {fault}",
            )
        fault = _content_fault(data[one.offset : end], one)
        if fault:
            yield one.sample_id, f"{one.part}: bytes {one.offset} to {end} {fault}"
        at, before = -(-end // _BLOCK) * _BLOCK, one.sample_id
        if any(data[end:at]):
            yield one.sample_id, f"{one.part}: the padding behind it, to byte {at}, is not zero"
    rest = data[at:]
    if any(rest):
        yield before, f"bytes {at} to {len(data)}: the index names no member there"
    elif len(rest) < 2 * _BLOCK or len(data) % tarfile.RECORDSIZE:
        yield None, f"ends at byte {len(data)} without tar's end: it was cut short"


def _other_digest(found: str, said: str) -> str:
    return f"has the SHA-256 {found}, and its index says {said}"


def _header_fault(header: bytes, one: Expected) -> str | None:
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        return f"is damaged: {error}"
    written = tarfile.TarInfo(one.name)
    written.size = one.size
    if header == written.tobuf(tarfile.USTAR_FORMAT):
        return None
    if (info.name, info.size) != (one.name, one.size):
        return f"names {info.name} of {info.size} bytes, not {one.name} of {one.size}"
    return "is not the one that was written"


def _content_fault(data: memoryview, one: Expected) -> str | None:
    if one.crc32 is not None:
        crc = zlib.crc32(data)
        return (
            None
            if crc == one.crc32
            else (
                f"are not those that were written: CRC-32 {crc:08x}, the index says {one.crc32:08x}"
            )
        )
    return _png_fault(bytes(data)) if one.name.endswith(".png") else None


def _png_fault(data: bytes) -> str | None:
    """Of a PNG whose CRC-32 nobody kept: by the checksums of its own chunks."""
    if not data.startswith(_PNG):
        return "are no PNG"
    at, kind = len(_PNG), b""
    while kind != b"IEND":
        size = int.from_bytes(data[at : at + 4], "big")
        body, check = data[at + 4 : at + 8 + size], data[at + 8 + size : at + 12 + size]
        kind = body[:4]
        if len(check) < 4 or zlib.crc32(body) != int.from_bytes(check, "big"):
            return f"are a damaged PNG: its chunk at byte {at} fails its own checksum"
        at += size + 12
    return None if at == len(data) else f"are a PNG with {len(data) - at} bytes behind its end"
