from pathlib import Path

from tasks.checksums import file_md5, folder_md5


def test_a_file_has_the_md5_that_everybody_gives_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_md5(tmp_path / "a") == "900150983cd24fb0d6963f7d28e17f72"


def test_a_folder_has_the_md5_that_dvc_gives_it() -> None:
    """Of a folder with ``b`` ("b") and ``c/a`` ("a"), as DVC 3.67 wrote it to ``dvc.lock``."""
    members = {
        "c/a": "0cc175b9c0f1b6a831c399e269772661",
        "b": "92eb5ffee6ae2fec3ad71c777531578f",
    }
    assert folder_md5(members) == "2ae579fff051b18111d4e9cb2c531672.dir"
    assert folder_md5(dict(reversed(members.items()))) == folder_md5(members)
