"""Planted defects of WebDataset shards are named by file and rule."""

import io
import tarfile
from pathlib import Path

from tasks.label_maps import encode_image, encode_label
from tests.toys.trees import IMAGE, LABEL, check, found


def write_tar(path: Path, members: list[tuple[str, bytes] | tarfile.TarInfo]) -> None:
    with tarfile.open(path, "w") as tar:
        for one in members:
            if isinstance(one, tarfile.TarInfo):
                tar.addfile(one)
            else:
                info = tarfile.TarInfo(one[0])
                info.size = len(one[1])
                tar.addfile(info, io.BytesIO(one[1]))


def test_planted_defects_of_shards_are_named(tmp_path: Path) -> None:
    image, label = encode_image(IMAGE), encode_label(LABEL)
    link = tarfile.TarInfo("link.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    write_tar(
        tmp_path / "train-000000.tar",
        [
            ("whole.png", image),
            ("whole.label.png", label),
            ("whole.json", b"{}"),
            ("bare.jpg", image),
            ("lonely.label.png", label),
            ("small.png", image),
            ("small.label.png", encode_label(LABEL[1:])),
            ("../../out.png", image),
            ("../../out.label.png", label),
            ("twice.png", image),
            ("twice.jpg", image),
            ("twice.label.png", label),
            ("whole.reliability.png", label),
            link,
        ],
    )
    whole = (tmp_path / "train-000000.tar").read_bytes()
    (tmp_path / "train-000001.tar").write_bytes(whole[:700])
    (tmp_path / "train-000002.tar").write_bytes(b"no tar at all" * 100)
    first = "train-000000.tar: "
    assert sorted(found(check(tmp_path))) == [
        (f"{first}../../out.label.png", "name"),
        (f"{first}../../out.png", "name"),
        (f"{first}bare", "pair"),
        (f"{first}link.png", "name"),
        (f"{first}lonely", "pair"),
        (f"{first}small.label.png", "size"),
        (f"{first}twice.jpg", "pair"),
        (f"{first}whole", "pair"),
        (f"{first}whole.reliability.png", "pair"),
        ("train-000001.tar", "unreadable"),
        ("train-000002.tar", "unreadable"),
    ]


def test_a_header_that_holds_no_numbers_is_named(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.png")
    info.pax_headers = {"GNU.sparse.map": "a,b"}
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info)
    assert found(check(tmp_path)) == [("a.tar", "unreadable")]
