"""SHA-256 of files and folders, and when a file is read again."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from tasks.digests import DigestCache, combine, file_digests, files_below

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def folder_digest(folder: Path, cache: DigestCache) -> str:
    return combine(file_digests(folder, files_below(folder), cache))


@pytest.fixture
def cache(tmp_path: Path) -> DigestCache:
    return DigestCache(tmp_path / "cache" / "digests.json")


def tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_a_file_has_the_standard_digest(tmp_path: Path, cache: DigestCache) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert cache.file(tmp_path / "file") == ABC


def test_a_missing_file_is_an_error(tmp_path: Path, cache: DigestCache) -> None:
    with pytest.raises(FileNotFoundError):
        cache.file(tmp_path / "none")


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, cache: DigestCache) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    cache.file(path)
    cache.save()
    before = path.stat()
    path.write_bytes(b"xyz")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert DigestCache(cache.path).file(path) == ABC


@pytest.mark.parametrize("what", ["size", "time"])
def test_a_changed_file_is_read_again(tmp_path: Path, cache: DigestCache, what: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"xyz")
    cache.file(path)
    before = path.stat()
    path.write_bytes(b"abc" if what == "time" else b"")
    later = before.st_mtime_ns + (1 if what == "time" else 0)
    os.utime(path, ns=(before.st_atime_ns, later))
    assert cache.file(path) == (ABC if what == "time" else hashlib.sha256().hexdigest())


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"/x": 3}'])
def test_a_damaged_memory_is_only_forgotten(tmp_path: Path, text: str) -> None:
    (tmp_path / "digests.json").write_text(text)
    (tmp_path / "file").write_bytes(b"abc")
    cache = DigestCache(tmp_path / "digests.json")
    assert cache.file(tmp_path / "file") == ABC
    cache.save()
    assert json.loads((tmp_path / "digests.json").read_text())[str(tmp_path / "file")][2] == ABC


def test_a_folder_s_digest_is_of_its_sorted_names_and_contents(
    tmp_path: Path, cache: DigestCache
) -> None:
    folder = tree(tmp_path / "a", {"b/c.txt": "abc", "a.txt": ""})
    empty = hashlib.sha256().hexdigest()
    expected = hashlib.sha256(f"{empty}  a.txt\n{ABC}  b/c.txt\n".encode()).hexdigest()
    assert folder_digest(folder, cache) == expected
    assert combine({"b/c.txt": ABC, "a.txt": empty}) == expected


def test_a_folder_s_digest_is_the_same_wherever_it_lies(tmp_path: Path, cache: DigestCache) -> None:
    files = {"x/1": "one", "2": "two"}
    one, two = tree(tmp_path / "one", files), tree(tmp_path / "else/where", files)
    assert folder_digest(one, cache) == folder_digest(two, cache)


@pytest.mark.parametrize("change", [{"2": "three"}, {"3": ""}])
def test_a_folder_s_digest_follows_content_and_names(
    tmp_path: Path, cache: DigestCache, change: dict[str, str]
) -> None:
    folder = tree(tmp_path / "a", {"x/1": "one", "2": "two"})
    before = folder_digest(folder, cache)
    tree(folder, change)
    assert folder_digest(folder, cache) != before


def test_hidden_files_do_not_count(tmp_path: Path) -> None:
    folder = tree(tmp_path / "a", {"b": "", ".DS_Store": "", ".git/config": "", "c/.d": ""})
    assert [path.name for path in files_below(folder)] == ["b"]
