import hashlib
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.checksums import file_md5
from tasks.label_maps import encode_image
from tasks.shard_checks import Expected, check_shard
from tasks.shards import write_shard

PICTURE = encode_image(np.arange(300, dtype=np.uint8).reshape(10, 10, 3))
FILES = [
    ("aa.png", PICTURE),
    ("aa.attention.safetensors", b"attention of aa"),
    ("bb.png", PICTURE),
    ("bb.attention.safetensors", b"x" * 512),
]


@pytest.fixture
def shard(tmp_path: Path) -> tuple[Path, list[Expected]]:
    """A shard of two samples and what its index says."""
    path = tmp_path / "s.tar"
    written = write_shard(path, FILES)
    members = [
        Expected(
            name[:2], "image" if name.endswith("png") else "attention", at.offset, at.size, crc
        )
        for (name, _), at in zip(FILES, written, strict=True)
        if (crc := at.crc32) is not None
    ]
    assert [one.name for one in members] == [name for name, _ in FILES]
    return path, members


def found(path: Path, members: list[Expected]) -> list[tuple[str | None, str]]:
    faults, _ = check_shard(path, "s.tar", members)
    assert all(one.path == "s.tar" for one in faults)
    return [(one.sample_id, one.fault) for one in faults]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def test_a_whole_shard_has_no_fault(shard: tuple[Path, list[Expected]]) -> None:
    path, members = shard
    assert check_shard(path, "s.tar", list(reversed(members))) == ([], file_md5(path))


def test_the_rows_sha256_is_compared(shard: tuple[Path, list[Expected]]) -> None:
    path, members = shard
    whole = hashlib.sha256(path.read_bytes()).hexdigest()
    assert check_shard(path, "s.tar", members, [whole])[0] == []
    (other,) = check_shard(path, "s.tar", members, [whole, "ab"])[0]
    assert (other.sample_id, other.fault) == (
        None,
        f"has the SHA-256 {whole}, and its index says ab",
    )


def test_no_byte_flips_unseen(shard: tuple[Path, list[Expected]]) -> None:
    """Bytes of headers, members, padding and end alike; the sample that owns them is named."""
    path, members = shard
    whole = path.read_bytes()
    ends = [members[1].offset + 512, members[3].offset + 512]
    for at in range(0, len(whole), 37):
        flip(path, at)
        faults = found(path, members)
        assert faults, f"byte {at} flipped unseen"
        assert faults[0][0] == ("aa" if at < ends[0] else "bb"), at
        path.write_bytes(whole)
    assert found(path, members) == []


def test_the_fault_says_where(shard: tuple[Path, list[Expected]]) -> None:
    path, members = shard
    flip(path, members[2].offset + 40)
    start, end = members[2].offset, members[2].offset + members[2].size
    ((sample, fault),) = found(path, members)
    assert sample == "bb"
    assert fault.startswith(
        f"image: bytes {start} to {end} are not those that were written: CRC-32"
    )
    assert fault.endswith(f"the index says {zlib.crc32(PICTURE):08x}")


def test_without_digests_a_png_tells_by_its_own_checksums(
    shard: tuple[Path, list[Expected]],
) -> None:
    path, members = shard
    older = [replace(one, crc32=None) for one in members]
    assert found(path, older) == []
    flip(path, members[2].offset + 60)
    ((sample, fault),) = found(path, older)
    assert sample == "bb" and "its chunk at byte" in fault


def test_rows_and_members_that_do_not_agree(shard: tuple[Path, list[Expected]]) -> None:
    path, members = shard
    assert "names no member there" in found(path, [*members[:1], *members[2:]])[0][1]
    assert "names no member there" in found(path, members[:3])[0][1]
    other = [replace(members[0], sample_id="cc"), *members[1:]]
    assert found(path, other)[0] == (
        "cc",
        f"image: its tar header, bytes 0 to 512, names aa.png of {len(PICTURE)} bytes, not cc.png "
        f"of {len(PICTURE)}",
    )
    overlapping = [members[0], replace(members[1], offset=members[0].offset + 100), *members[2:]]
    assert "in another's" in found(path, overlapping)[0][1]


def test_a_shard_that_is_short_empty_or_not_there(shard: tuple[Path, list[Expected]]) -> None:
    path, members = shard
    whole = path.read_bytes()
    path.write_bytes(whole[: members[3].offset + 10])
    assert found(path, members)[0][0] == "bb"
    assert "ends at byte" in found(path, members)[0][1]
    path.write_bytes(whole[: members[3].offset + 512])
    assert found(path, members) == [
        (None, f"ends at byte {members[3].offset + 512} without tar's end: it was cut short")
    ]
    path.write_bytes(b"")
    assert found(path, members) == [(None, "is empty")]
    path.unlink()
    assert check_shard(path, "s.tar", members)[1] is None
    assert found(path, members) == [(None, "is missing; 2 samples of the index lie in it")]
