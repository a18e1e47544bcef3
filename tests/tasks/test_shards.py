"""Tar shards: the same bytes again, addresses that hold, and what a damaged one says."""

import io
import tarfile
import zlib
from pathlib import Path

import pytest

from tasks.shards import Member, ShardWriter, parse_uri, write_shard

FILES = [
    ("0a.png", b"image"),
    ("0a.attention.safetensors", bytes(1500)),
    ("0b.png", b""),
    ("0b.attention.safetensors", bytes(range(256)) * 2),
]
"""Two samples; sizes below, above, at none and at exactly one block of 512 bytes."""


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return tmp_path / "shards" / "car-0000.tar"


def test_a_shard_made_again_is_byte_equal(shard: Path, tmp_path: Path) -> None:
    write_shard(shard, FILES)
    write_shard(tmp_path / "again.tar", FILES)
    assert shard.read_bytes() == (tmp_path / "again.tar").read_bytes()


def test_members_lie_where_their_addresses_say(shard: Path) -> None:
    members = write_shard(shard, FILES)
    assert [(member.path, member.size) for member in members] == [
        (str(shard), len(data)) for _, data in FILES
    ]
    assert [member.offset for member in members] == [512, 1536, 3584, 4096]
    assert [member.read() for member in members] == [data for _, data in FILES]
    assert [member.crc32 for member in members] == [zlib.crc32(data) for _, data in FILES]


def test_the_standard_library_reads_a_shard(shard: Path) -> None:
    members = write_shard(shard, FILES)
    with tarfile.open(shard) as tar:
        found = tar.getmembers()
        assert [(one.name, one.offset_data, one.size) for one in found] == [
            (name, member.offset, member.size)
            for (name, _), member in zip(FILES, members, strict=True)
        ]
        contents = [tar.extractfile(one) for one in found]
        assert [file.read() for file in contents if file] == [data for _, data in FILES]
        assert {(one.mtime, one.uid, one.gid, one.uname, one.gname) for one in found} == {
            (0, 0, 0, "", "")
        }


def test_a_sample_s_files_stand_together_under_one_key(shard: Path) -> None:
    """The WebDataset convention: the key ends at the first dot, a sample's files are neighbours."""
    write_shard(shard, FILES)
    with tarfile.open(shard) as tar:
        keys = [name.partition(".")[0] for name in tar.getnames()]
    assert keys == ["0a", "0a", "0b", "0b"]


@pytest.mark.parametrize(
    "path",
    [
        "data/samples/shards/car-0000.tar",
        "/abs/olute.tar",
        "with space & more/50%.tar",
        "odd?offset=1#x.tar",
        "ümlaut/日本.tar",
        "a+b.tar",
    ],
)
def test_addresses_come_back(path: str) -> None:
    member = Member(path, 512, 7)
    assert member.uri.startswith("shard://")
    assert parse_uri(member.uri) == member


def test_an_address_looks_like_this() -> None:
    uri = Member("data/samples/shards/car-0000.tar", 512, 7).uri
    assert uri == "shard://data/samples/shards/car-0000.tar?offset=512&size=7"


@pytest.mark.parametrize(
    "uri", ["data/a.png", "file://a.tar?offset=1&size=2", "shard://a.tar?offset=1", "shard://a.tar"]
)
def test_what_is_no_address_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="not a shard address"):
        parse_uri(uri)


def test_a_shard_cut_short_says_what_to_do(shard: Path) -> None:
    members = write_shard(shard, FILES)
    shard.write_bytes(shard.read_bytes()[: members[1].offset + 100])
    assert members[0].read() == b"image"
    with pytest.raises(EOFError, match=r"ends before byte 3036; .* run the stage that wrote"):
        members[1].read()


def test_a_missing_shard_is_an_error(shard: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Member(str(shard), 0, 1).read()


def test_a_shard_that_failed_half_way_does_not_exist(shard: Path) -> None:
    def failing():
        yield FILES[0]
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        write_shard(shard, failing())
    assert not shard.exists()
    write_shard(shard, FILES)
    assert list(shard.parent.iterdir()) == [shard]


def test_an_index_says_where_a_member_lies_and_its_checksum(shard: Path) -> None:
    member = write_shard(shard, FILES)[1]
    data = FILES[1][1]
    assert member.columns("attention") == {
        "attention_offset": 1536,
        "attention_size": 1500,
        "attention_crc32": zlib.crc32(data),
    }


def test_a_shard_filled_in_memory_is_the_same(shard: Path) -> None:
    members = write_shard(shard, FILES)
    file = io.BytesIO()
    writer = ShardWriter(file)
    placed = [writer.add(name, data) for name, data in FILES]
    writer.close()
    assert file.getvalue() == shard.read_bytes()
    assert [one.columns("x") for one in placed] == [one.columns("x") for one in members]
